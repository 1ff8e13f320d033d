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
    var view = sites[site].view(at: time)
    view.enter(SpotChoice(isSpot: tasks[index].isSpot))
    view.enter(partition: tasks[index].partition)
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
    let sheet = prices(of: index, on: tasks[index].site)
    let cost = (sheet?.cost(of: requirement.priced, for: .seconds(seconds)) ?? 0) + hold.egress
    let used = min(hold.most, Amount(charging: cost))
    if let available = budget?.available { budget!.available = available + hold.amount - used }
    budget?.unspent -= used
  }

  /// Minor units that the sources of a placement charge.
  func egress(of placement: Placement, to site: Int) -> Double {
    guard !placement.sources.isEmpty,
      let currency = (placement.isSpot ? sites[site].base.spot?.prices : sites[site].base.spec.prices)?.currency
    else { return 0 }
    return sites.reduce(0) { sum, sender in
      let bytes = placement.sources[sender.name] ?? .zero
      return sum + EgressQuote.cost(of: bytes, at: sender.base.egressGibibyte(in: currency))
    }
  }

  /// What a task's run is quoted: the spot price of now, which nobody knows of another time.
  private func prices(of index: Int, on site: Int) -> PriceSheet? {
    let sheet = tasks[index].isSpot ? sites[site].base.spot?.prices : sites[site].base.spec.prices
    return sheet?.quoted(on: tasks[index].partition).quoted(
      to: groups[tasks[index].group].pending.requirement.hints.priorityClass)
  }

  mutating func price(_ index: Int, _ site: Int, _ seconds: Double, egress: Double) {
    guard let sheet = prices(of: index, on: site) else { return }
    let (row, requirement) = (tasks[index].row, groups[tasks[index].group].pending.requirement)
    trace.tasks[row].price =
      (sheet.cost(of: requirement.priced, for: .seconds(seconds)) + egress).rounded(.up)
    trace.tasks[row].currency = sheet.currency
  }
}
