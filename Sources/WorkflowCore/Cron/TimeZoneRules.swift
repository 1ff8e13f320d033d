public import FederationModel

/// What a region's clocks show, as rules: a value made from the bytes of a TZif file, so that nothing here reads a file.
///
/// - Source: RFC 8536 (TZif versions 1 to 4) and the POSIX `TZ` text of its footer.
public struct TimeZoneRules: Sendable, Equatable {
  /// No file of the tz database comes near this.
  public static let sizeLimitBytes = 256 << 10

  /// A stretch of time with one offset: from `start` (seconds since 1970, `Int64.min` for always) up to `end`.
  public struct Period: Sendable, Equatable {
    /// Seconds east of UTC.
    public var offset: Int64
    public var abbreviation: String
    public var start: Int64
    public var end: Int64
  }

  struct Kind: Sendable, Equatable {
    var offset: Int64
    var abbreviation: String
  }

  private var transitions: [Int64]
  private var kinds: [Kind]
  /// `kindOfTransition[i]` holds from `transitions[i]` on.
  private var kindOfTransition: [Int]
  private var footer: PosixTimeZone?

  public static let utc = TimeZoneRules(offset: 0, abbreviation: "UTC")

  /// A clock that is always `offset` seconds east of UTC.
  public init(offset: Int64, abbreviation: String) {
    transitions = []
    kinds = [Kind(offset: offset, abbreviation: abbreviation)]
    kindOfTransition = []
    footer = nil
  }

  /// Clocks that have always followed the present rules.
  init(_ zone: PosixTimeZone) {
    self.init(offset: zone.offset, abbreviation: zone.abbreviation)
    footer = zone
  }

  /// Reads a TZif file.
  ///
  /// - Throws: `FederationError` (`invalidArgument`) when the bytes are no TZif file.
  public init(tzif bytes: [UInt8]) throws {
    guard bytes.count <= Self.sizeLimitBytes else { throw Self.failure("is longer than \(Self.sizeLimitBytes) bytes") }
    var reader = Reader(bytes: bytes)
    var header = try reader.header()
    var width = 4
    if header.version >= UInt8(ascii: "2") {
      try reader.skip(header.length(width: 4))
      header = try reader.header()
      width = 8
    }
    let data = try reader.data(header, width: width)
    (transitions, kindOfTransition, kinds) = (data.transitions, data.kindOfTransition, data.kinds)
    footer = width == 8 ? try reader.footer() : nil
  }

  /// Whether `name` may be looked up below a directory of zones: `Europe/Berlin`, no way out of the directory.
  public static func isZoneName(_ name: String) -> Bool {
    guard (1...64).contains(name.utf8.count) else { return false }
    return name.split(separator: "/", omittingEmptySubsequences: false).allSatisfy { part in
      part.utf8.contains { $0 != UInt8(ascii: ".") }
        && part.utf8.allSatisfy { byte in
          (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
            || [0x2b, 0x2d, 0x2e, 0x5f].contains(byte)
        }
    }
  }

  /// What clocks show at `second` (since 1970, UTC).
  public func period(at second: Int64) -> Period {
    var (low, high) = (0, transitions.count)
    while low < high {
      let middle = (low + high) / 2
      if transitions[middle] <= second { low = middle + 1 } else { high = middle }
    }
    // `low` transitions lie behind.
    let start = low == 0 ? Int64.min : transitions[low - 1]
    if low == transitions.count, let footer {
      var period = footer.period(at: second)
      period.start = max(period.start, start)
      return period
    }
    let kind = kinds[low == 0 ? 0 : kindOfTransition[low - 1]]
    return Period(
      offset: kind.offset, abbreviation: kind.abbreviation, start: start,
      end: low == transitions.count ? .max : transitions[low])
  }

  public func offset(at moment: Timestamp) -> Int64 { period(at: moment.wholeSeconds).offset }

  /// The moment at which a local clock shows `local` seconds since 1970-01-01T00:00:00.
  ///
  /// Where the clock shows it twice or never, one of the two offsets around the change is taken, as Go's `time.Date` does.
  public func second(ofLocal local: Int64) -> Int64 {
    let guess = period(at: local)
    let second = local - guess.offset
    if second >= guess.start, second < guess.end { return second }
    return local - period(at: second).offset
  }

  static func failure(_ what: String) -> FederationError {
    FederationError(.invalidArgument, "the time zone data \(what)")
  }
}

extension TimeZoneRules {
  private struct Header {
    var version: UInt8
    var universal: Int, standard: Int, leaps: Int, times: Int, kinds: Int, characters: Int

    func length(width: Int) -> Int {
      times * width + times + kinds * 6 + characters + leaps * (width + 4) + standard + universal
    }
  }

  private struct Reader {
    let bytes: [UInt8]
    var index = 0

    mutating func skip(_ count: Int) throws {
      guard count <= bytes.count - index else { throw TimeZoneRules.failure("ends too early") }
      index += count
    }

    mutating func number(_ width: Int) throws -> Int64 {
      let start = index
      try skip(width)
      let bits = bytes[start..<index].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
      return width == 4 ? Int64(Int32(truncatingIfNeeded: bits)) : Int64(bitPattern: bits)
    }

    mutating func header() throws -> Header {
      let start = index
      try skip(20)
      guard bytes[start..<(start + 4)].elementsEqual("TZif".utf8) else {
        throw TimeZoneRules.failure("does not begin with TZif")
      }
      let counts = try (0..<6).map { _ in Int(try number(4)) }
      guard counts.allSatisfy({ (0...65_536).contains($0) }), (1...256).contains(counts[4]) else {
        throw TimeZoneRules.failure("has impossible counts")
      }
      return Header(
        version: bytes[start + 4], universal: counts[0], standard: counts[1], leaps: counts[2], times: counts[3],
        kinds: counts[4], characters: counts[5])
    }

    mutating func data(_ header: Header, width: Int) throws
      -> (transitions: [Int64], kindOfTransition: [Int], kinds: [Kind])
    {
      guard header.length(width: width) <= bytes.count - index else { throw TimeZoneRules.failure("ends too early") }
      let transitions = try (0..<header.times).map { _ in try number(width) }
      guard zip(transitions, transitions.dropFirst()).allSatisfy({ $0 < $1 }) else {
        throw TimeZoneRules.failure("has transitions out of order")
      }
      let kindOfTransition = bytes[index..<(index + header.times)].map { Int($0) }
      try skip(header.times)
      var raw: [(offset: Int64, name: Int)] = []
      for _ in 0..<header.kinds {
        let offset = try number(4)
        raw.append((offset, Int(bytes[index + 1])))
        try skip(2)
      }
      let names = bytes[index..<(index + header.characters)]
      try skip(header.characters + header.leaps * (width + 4) + header.standard + header.universal)
      guard kindOfTransition.allSatisfy({ $0 < raw.count }),
        raw.allSatisfy({ abs($0.offset) <= 93_600 && $0.name < names.count })
      else { throw TimeZoneRules.failure("refers to a kind of time that it does not have") }
      let kinds = raw.map { kind in
        Kind(
          offset: kind.offset,
          abbreviation: String(decoding: names.dropFirst(kind.name).prefix { $0 != 0 }, as: UTF8.self))
      }
      return (transitions, kindOfTransition, kinds)
    }

    /// The text between the two line feeds at the end; nil when it is empty.
    mutating func footer() throws -> PosixTimeZone? {
      try skip(1)
      let text = bytes[index...].prefix { $0 != 0x0a }
      guard bytes[index - 1] == 0x0a, index + text.count < bytes.count else {
        throw TimeZoneRules.failure("lacks its footer")
      }
      return text.isEmpty ? nil : try PosixTimeZone(String(decoding: text, as: UTF8.self))
    }
  }
}

extension Timestamp {
  /// Since 1970, rounded down.
  var wholeSeconds: Int64 { milliseconds >= 0 ? milliseconds / 1000 : -((-(milliseconds + 1)) / 1000) - 1 }

  /// Saturates at the ends.
  init(wholeSeconds seconds: Int64) {
    let (scaled, overflow) = seconds.multipliedReportingOverflow(by: 1000)
    self.init(milliseconds: overflow ? (seconds < 0 ? .min : .max) : scaled)
  }
}
