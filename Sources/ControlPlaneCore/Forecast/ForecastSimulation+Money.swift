import FederationModel
import SchedulerCore

/// What the workflow's project may spend in the course: held at each placement as the core holds it, and given back at the run's end.
/// What is held when it begins, for runs that are not over, stays held.
extension ForecastSimulation {
  /// What is held for a task's run.
  struct Hold {
    var amount: Amount
    /// What is charged at most.
    var most: Amount
    /// Minor units that the sources of its inputs charge.
    var egress: Double
  }

  /// Holds what a run may cost; false when others of its pass have taken what was left.
  mutating func hold(_ index: Int, on site: Int, egress: Double) -> Bool {
    let requirement = groups[tasks[index].group].pending.requirement
    guard let budget, requirement.project == basis.project else { return true }
    let view = sites[site].view(at: time)
    // As if it were renewed as far as it is expected to run: in the course nobody is ended for want of money.
    let expected = Duration.seconds(
      groups[tasks[index].group].pending.expectedRuntime.seconds / max(0.001, sites[site].base.speed))
    let slice = budget.slice(of: requirement, on: view)
    let bound = budget.bound(of: requirement, on: view)
    guard
      let amount = budget.amount(
        for: requirement, on: view, lasting: max(slice, min(bound, expected)), egress: egress),
      let most = budget.amount(for: requirement, on: view, lasting: bound, egress: egress)
    else { return false }
    if let available = budget.available {
      guard amount <= available else { return false }
      self.budget!.available = available - amount
    }
    holds[index] = Hold(amount: amount, most: most, egress: egress)
    return true
  }

  /// A run is over: what it used is spent, and the rest comes back.
  mutating func settle(_ index: Int, lasting seconds: Double) {
    guard let hold = holds.removeValue(forKey: index) else { return }
    let requirement = groups[tasks[index].group].pending.requirement
    let sheet = sites[tasks[index].site].base.spec.prices?.quoted(to: requirement.hints.priorityClass)
    let cost = (sheet?.cost(of: requirement.priced, for: .seconds(seconds)) ?? 0) + hold.egress
    let used = min(hold.most, Amount(charging: cost))
    if let available = budget?.available { budget!.available = available + hold.amount - used }
    budget?.unspent -= used
  }

  /// Minor units that the sources of a placement charge.
  func egress(of placement: Placement, to site: Int) -> Double {
    guard !placement.sources.isEmpty, let currency = sites[site].base.spec.prices?.currency else { return 0 }
    return sites.reduce(0) { sum, sender in
      let bytes = placement.sources[sender.name] ?? .zero
      return sum + EgressQuote.cost(of: bytes, at: sender.base.egressGibibyte(in: currency))
    }
  }

  mutating func price(_ row: Int, _ requirement: Requirement, _ site: Int, _ seconds: Double, egress: Double) {
    guard let sheet = sites[site].base.spec.prices?.quoted(to: requirement.hints.priorityClass) else { return }
    trace.tasks[row].price =
      (sheet.cost(of: requirement.priced, for: .seconds(seconds)) + egress).rounded(.up)
    trace.tasks[row].currency = sheet.currency
  }
}
