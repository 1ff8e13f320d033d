/// What every run finds in its environment when nobody says otherwise. `HOME` is besides, which differs by run.
public enum PlainEnvironment {
  public static let values = [
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "TMPDIR": "/tmp",
    "USER": "fubini",
  ]

  /// Adds variables to a run's environment. The author's stay as they are, the plain ones give way.
  ///
  /// - Parameter added: lines `NAME=value`.
  static func merge(_ added: [String], into environment: inout [String]) {
    func name(_ line: String) -> Substring { line.prefix { $0 != "=" } }
    let names = Set(added.map(name))
    environment.removeAll { line in
      names.contains(name(line)) && values[String(name(line))].map { line == "\(name(line))=\($0)" } ?? false
    }
    let own = Set(environment.map(name))
    environment += added.filter { !own.contains(name($0)) }
  }
}
