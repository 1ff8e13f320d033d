/// What a replica is worth to those who will read it after the task that brings it.
enum FutureReuse {
  /// Of the seconds that bringing it takes, the part that falls to the others when each bears an equal one: all of it would be too
  /// much, for then moving would cost nothing.
  ///
  /// - Parameters:
  ///   - uses: further tasks that are expected to read it there.
  ///   - refetchSeconds: what each of them would wait for it otherwise.
  static func seconds(uses: Double, refetchSeconds: Double) -> Double { refetchSeconds * uses / (1 + uses) }
}
