/// The versions of the agent protocol, and what is optional in it.
///
/// A release speaks the newest version and the one before (N-1). Within a version fields are only added, and either side
/// leaves out what it does not know: unknown fields and messages are skipped. What needs both sides has a name, a
/// `Capability`: the hello offers, the welcome says what the session uses.
public enum AgentProtocol {
  public static let versions: ClosedRange<UInt32> = 1...2
  /// The first version that has capabilities.
  public static let capabilitiesVersion: UInt32 = 2
  /// Names beyond so many in one hello are not looked at.
  public static let capabilityCountMax = 64

  public enum Capability: String, Sendable, CaseIterable {
    /// Heartbeats and their answers carry the sender's wall clock, so that both sides know how far their clocks are apart.
    case clock
    /// An upload that was cut goes on where the repository's bytes end.
    case resumableUploads = "resumable-uploads"
    /// Orders to a cache and reports of it, data sets in assignments, outputs that stay where they were made, secrets on request.
    case data
    /// What is held for a run grows while it runs: it is ended where its slice ends, and is told when that is later.
    case slices
  }

  /// What a session between a hello and us uses.
  public struct Agreement: Sendable, Hashable {
    public var version: UInt32
    public var capabilities: Set<Capability>

    public init(version: UInt32, capabilities: Set<Capability>) {
      self.version = version
      self.capabilities = capabilities
    }

    /// The highest common version, and in it what both know. nil when there is no common version.
    ///
    /// - Parameters:
    ///   - offered: the hello's range; an empty one (lowest above highest) has nothing in common with anybody.
    ///   - names: the hello's capabilities; unknown ones are left out, and all of them in a version without capabilities.
    public init?(
      offered: (lowest: UInt32, highest: UInt32), names: [String], supported: ClosedRange<UInt32> = versions
    ) {
      let lowest = max(offered.lowest, supported.lowerBound)
      let highest = min(offered.highest, supported.upperBound)
      guard lowest <= highest, offered.lowest <= offered.highest else { return nil }
      version = highest
      let known = names.prefix(capabilityCountMax).compactMap(Capability.init)
      capabilities = highest >= capabilitiesVersion ? Set(known) : []
    }
  }
}
