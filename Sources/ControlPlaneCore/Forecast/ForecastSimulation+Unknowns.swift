import FederationModel
import SchedulerCore
import WorkflowCore

/// What a course rests on that nobody knows, and why some of it waits.
extension ForecastSimulation {
  mutating func noteAssumptions() {
    for assumption in machine.foresight?.assumptions ?? [] {
      switch assumption {
      case .items(let template, let step, let count):
        trace.note("how many items \(step) of template \(template) has: \(count) assumed (--fan-out)")
      case .holds(let template, let step, let condition):
        trace.note("whether \(step) of template \(template) runs (\(condition)): it is counted")
      case .endsRecursion(let template, let step):
        trace.note("how often \(step) of template \(template) calls its own template again: not at all is assumed")
      }
    }
    for group in trace.groups {
      let seconds = Int(group.runtime.median.rounded())
      switch group.runtimeFrom {
      case .history: break
      case .walltime:
        trace.note(
          "the runtime of template \(group.template): none has ended yet; its walltime, \(seconds) s, is taken")
      case .assumed:
        trace.note("the runtime of template \(group.template): none has ended yet; \(seconds) s are taken")
      }
    }
    for cluster in Set(trace.tasks.compactMap(\.cluster)).sorted() {
      guard let site = sites.first(where: { $0.name == cluster }), site.base.inventory.queues,
        site.base.inventory.partitions.allSatisfy(\.waits.isEmpty)
      else { continue }
      trace.note("how long runs wait in the queue of \(cluster): nothing is known of it yet")
    }
    if let budget = basis.budget, let available = budget.available, available < budget.unspent {
      trace.note(
        "when runs of project \(basis.project) end for which \(budget.unspent - available) \(budget.currency) are held: as if "
          + "they held it all the while")
    }
    if basis.waitingBeyond > 0 {
      trace.note("\(basis.waitingBeyond) more tasks of others wait already: they are left out")
    }
  }

  /// The tables of groups that wait when nothing happens any more.
  mutating func explainWaiting() {
    let views = sites.map { $0.view(at: time) }
    for group in groups where group.row >= 0 && !group.waiting.isEmpty {
      var pending = group.pending
      pending.budget = budget
      var snapshot = SchedulingSnapshot(clusters: views, groups: [pending])
      for key in pending.requirement.data { snapshot.data[key] = data.view(key, at: time) }
      trace.groups[group.row].table = planner.explain(pending, in: snapshot)
    }
  }
}

extension WorkflowDefinition {
  /// A value for every output that somebody supplies on resuming.
  var suppliedOutputs: [String: String] {
    var supplied: [String: String] = [:]
    for template in spec.templates {
      guard case .suspend = template.body else { continue }
      for parameter in template.outputs.parameters { supplied[parameter.name] = Foresight.unknown }
    }
    return supplied
  }
}

extension NodeRecord {
  /// The name of its step or dag task, without the loop's item and the attempt.
  var stepName: String { String(displayName.prefix { $0 != "(" }) }
}
