extension WorkflowTemplate {
  /// Tells programs apart for those who learn from earlier runs: a number made of image, command and script as they are written, before
  /// tags are replaced. 0 where the template runs nothing itself.
  ///
  /// What follows the program on its command line is what it works on, and does not count. It does where it is the program: after a
  /// command that ends with an option (`sh -c`, `python -c`), and where the image's own command is run (its first word, `train` or `serve`).
  ///
  /// - Source: FNV-1a, 64 bits (draft-eastlake-fnv). A collision mixes two histories of one project, and nothing else.
  public var program: Int64 {
    guard case .container(let container) = body else { return 0 }
    var parts = [container.image] + container.command
    if container.command.isEmpty || container.command.last!.hasPrefix("-") { parts += container.args.prefix(1) }
    if let source = container.source { parts.append(source) }
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for part in parts {
      // No byte of UTF-8 is 0xff, so that where a part ends counts.
      for byte in part.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0100_0000_01b3 }
      hash = (hash ^ 0xff) &* 0x0100_0000_01b3
    }
    return Int64(bitPattern: hash)
  }
}
