import FederationModel
import SchedulerCore

/// What the workflow's project may spend in the course: held at each placement as the core holds it, and given back at the run's end.
/// What is held when it begins, for runs that are not over, stays held.
extension ForecastSimulation {
  /// What is held for a task's run.
  struct Hold {
    var amount: Amount
    var moved: ByteCount
  }

  /// Holds what a run may cost; false when others of its pass have taken what was left.
  mutating func hold(_ index: Int, on site: Int, moving moved: ByteCount) -> Bool {
    let requirement = groups[tasks[index].group].pending.requirement
    guard let budget, requirement.project == basis.project else { return true }
    guard let amount = budget.reservation(for: requirement, on: sites[site].view(at: time), moving: moved) else {
      return false
    }
    if let available = budget.available {
      guard amount <= available else { return false }
      self.budget!.available = available - amount
    }
    holds[index] = Hold(amount: amount, moved: moved)
    return true
  }

  /// A run is over: what it used is spent, and the rest comes back.
  mutating func settle(_ index: Int, lasting seconds: Double) {
    guard let hold = holds.removeValue(forKey: index) else { return }
    let requirement = groups[tasks[index].group].pending.requirement
    let sheet = sites[tasks[index].site].base.spec.prices?.quoted(to: requirement.hints.priorityClass)
    let cost = sheet?.cost(of: requirement.priced, for: .seconds(seconds), moving: hold.moved) ?? 0
    let used = min(hold.amount, Amount(charging: cost))
    if let available = budget?.available { budget!.available = available + hold.amount - used }
    budget?.unspent -= used
  }

  mutating func price(_ row: Int, _ requirement: Requirement, _ site: Int, _ seconds: Double) {
    guard let sheet = sites[site].base.spec.prices?.quoted(to: requirement.hints.priorityClass) else { return }
    trace.tasks[row].price =
      sheet.cost(of: requirement.priced, for: .seconds(seconds), moving: trace.tasks[row].moved).rounded(.up)
    trace.tasks[row].currency = sheet.currency
  }
}
