/// `$(NAME)` in a container's command, arguments and variables.
///
/// `$$` is a dollar sign, so that `$$(NAME)` stays `$(NAME)`. A name that is nobody's stays as it is written.
/// - Source: Kubernetes, third_party/forked/golang/expansion/expand.go.
public enum VariableReferences {
  /// Whether expanding could change the text.
  public static func mayBeIn(_ text: String) -> Bool {
    let bytes = text.utf8
    var last: UInt8 = 0
    for byte in bytes {
      if last == 0x24, byte == 0x24 || byte == 0x28 { return true }
      last = byte
    }
    return false
  }

  /// - Parameter value: of a variable; nil where there is none of that name.
  public static func expand<Failure: Error>(
    _ text: String, _ value: (String) throws(Failure) -> String?
  ) throws(Failure) -> String {
    guard mayBeIn(text) else { return text }
    let bytes = Array(text.utf8)
    var result: [UInt8] = []
    var place = 0
    while place < bytes.count {
      guard bytes[place] == 0x24, place + 1 < bytes.count else {
        result.append(bytes[place])
        place += 1
        continue
      }
      if bytes[place + 1] == 0x28, let end = bytes[(place + 2)...].firstIndex(of: 0x29) {
        let name = String(decoding: bytes[(place + 2)..<end], as: UTF8.self)
        if let value = try value(name) { result += value.utf8 } else { result += bytes[place...end] }
        place = end + 1
        continue
      }
      // An escaped sign, or one that begins nothing.
      result.append(0x24)
      if bytes[place + 1] != 0x24 { result.append(bytes[place + 1]) }
      place += 2
    }
    return String(decoding: result, as: UTF8.self)
  }

  /// The names that a text refers to.
  public static func names(in text: String) -> [String] {
    var names: [String] = []
    _ = expand(text) { name -> String? in
      names.append(name)
      return nil
    }
    return names
  }

  /// A secret that would become an argument.
  public static func secretInArguments(_ name: String) -> FederationError {
    FederationError(
      .failedPrecondition,
      "$(\(name)) would put the value of a secret into the command line, which everybody on the machine can read: let the "
        + "program take it from its environment (in a shell \"$\(name)\")")
  }
}
