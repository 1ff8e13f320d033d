/// Which statement texts the server has prepared on one connection, and under which names.
///
/// A name is used once in the life of a connection: after an error nobody can tell for sure whether it is taken. A statement is
/// shared between units only after its PREPARE was answered, because a unit that fails takes its own PREPARE with it and must
/// not take the unit behind it along.
struct StatementCache {
  struct Key: Hashable {
    var sql: String
    var types: [UInt32]
  }

  private var names: [Key: String] = [:]
  private var counter: UInt64 = 0
  let limit: Int

  init(limit: Int) { self.limit = limit }

  subscript(key: Key) -> String? { names[key] }
  var isFull: Bool { names.count >= limit }

  mutating func nextName() -> String {
    counter += 1
    return "f\(counter)"
  }

  /// The server has confirmed the PREPARE.
  mutating func prepared(_ key: Key, as name: String) {
    if names[key] != nil || names.count < limit { names[key] = name }
  }

  /// The server does not know the name any more (`DISCARD ALL`, a pooler in between).
  mutating func forget(name: String) {
    names = names.filter { $0.value != name }
  }
}
