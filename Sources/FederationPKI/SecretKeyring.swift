internal import Crypto
public import FederationModel
internal import FoundationEssentials

/// The keys that users' secrets are sealed with. The first seals; the others still open what was sealed before a rotation.
///
/// As text: a line that names the form, then a line for each key with its id and the key in base 64. The text is as secret as what it
/// opens, and never is where that is: the database has the sealed values, a file beside the CA's has the keys.
public struct SecretKeyring: Sendable {
  private struct Key: Sendable {
    /// Eight random bytes, in front of everything that the key has sealed.
    var id: [UInt8]
    var key: SymmetricKey
  }
  private var keys: [Key]

  private static let heading = "fubini-secret-keys 1"
  private static let idSize = 8
  /// So many keys one ring holds: one rotation after the other that is never finished.
  private static let keysMax = 16

  /// A ring with one new key.
  public init() { keys = [Self.makeKey()] }

  /// - Throws: `.failedPrecondition` when the text is no ring.
  public init(text: String) throws(FederationError) {
    let lines = text.split(whereSeparator: \.isNewline)
    guard lines.first == Self.heading[...], (2...(Self.keysMax + 1)).contains(lines.count) else { throw Self.damaged }
    keys = []
    for line in lines.dropFirst() {
      let words = line.split(separator: " ")
      guard words.count == 2, let id = Data(base64Encoded: String(words[0])), id.count == Self.idSize,
        let key = Data(base64Encoded: String(words[1])), key.count == 32
      else { throw Self.damaged }
      keys.append(Key(id: Array(id), key: SymmetricKey(data: key)))
    }
  }

  private static var damaged: FederationError {
    FederationError(
      .failedPrecondition, "The file with the keys of secrets is damaged. Restore it from a backup.")
  }

  /// Secret.
  public var text: String {
    let lines = keys.map { key in
      let bytes = key.key.withUnsafeBytes { Data($0) }
      return "\(Data(key.id).base64EncodedString()) \(bytes.base64EncodedString())\n"
    }
    return Self.heading + "\n" + lines.joined()
  }

  /// A new key in front: it seals from now on.
  ///
  /// - Throws: `.failedPrecondition` when the ring is full.
  public func rotated() throws(FederationError) -> SecretKeyring {
    guard keys.count < Self.keysMax else {
      throw FederationError(
        .failedPrecondition, "There are \(keys.count) keys already. Retire the old ones before another rotation.")
    }
    var ring = self
    ring.keys.insert(Self.makeKey(), at: 0)
    return ring
  }

  /// Only the key that seals.
  public var retired: SecretKeyring {
    var ring = self
    ring.keys = [keys[0]]
    return ring
  }

  public var count: Int { keys.count }

  private static func makeKey() -> Key {
    var random = SystemRandomNumberGenerator()
    return Key(id: random.bytes(idSize), key: SymmetricKey(size: .bits256))
  }

  // MARK: Sealing

  /// Seals values under a name: what is sealed for one secret does not open as another.
  ///
  /// - Returns: key id (8 bytes), nonce (12), ciphertext, tag (16): AES-256-GCM.
  public func seal(_ values: [String: String], project: ProjectName, name: String) throws(FederationError) -> [UInt8] {
    do {
      let encoder = JSONEncoder()
      encoder.outputFormatting = .sortedKeys
      let box = try AES.GCM.seal(
        try encoder.encode(values), using: keys[0].key, authenticating: Self.context(project, name))
      guard let combined = box.combined else { throw FederationError(.internal, "A secret could not be sealed.") }
      return keys[0].id + combined
    } catch {
      // The cause may quote what was to be sealed.
      throw FederationError(.internal, "A secret could not be sealed.")
    }
  }

  /// - Throws: `.failedPrecondition` when no key of the ring opens it, or it was sealed under another name.
  public func open(_ sealed: [UInt8], project: ProjectName, name: String) throws(FederationError) -> [String: String] {
    do {
      guard let key = keys.first(where: { sealed.starts(with: $0.id) }) else {
        throw FederationError(.failedPrecondition, "")
      }
      let box = try AES.GCM.SealedBox(combined: Data(sealed.dropFirst(Self.idSize)))
      let bytes = try AES.GCM.open(box, using: key.key, authenticating: Self.context(project, name))
      return try JSONDecoder().decode([String: String].self, from: bytes)
    } catch {
      throw FederationError(
        .failedPrecondition,
        "Secret \(name) of project \(project) cannot be opened with the keys that are here. Restore the key file, or set it again."
      )
    }
  }

  /// Whether the key that seals now has sealed it.
  public func isCurrent(_ sealed: [UInt8]) -> Bool { sealed.starts(with: keys[0].id) }

  private static func context(_ project: ProjectName, _ name: String) -> Data {
    Data("fubini secret\n\(project)\n\(name)".utf8)
  }
}
