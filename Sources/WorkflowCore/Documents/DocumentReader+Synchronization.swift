extension DocumentReader {
  /// nil when it names no lock.
  mutating func readSynchronization(_ node: DocumentNode) -> Synchronization? {
    var locks: [LockReference] = []
    fields(of: node, FieldTables.synchronization) { reader, key, value in
      if value.isNull { return }
      switch key {
      case "mutex": locks += [reader.readMutex(value)].compactMap(\.self)
      case "mutexes": locks += reader.list(value) { reader, item in reader.readMutex(item) }
      case "semaphore": locks += [reader.readSemaphore(value)].compactMap(\.self)
      default: locks += reader.list(value) { reader, item in reader.readSemaphore(item) }
      }
    }
    return locks.isEmpty ? nil : Synchronization(locks: locks)
  }

  private mutating func readMutex(_ node: DocumentNode) -> LockReference? {
    var lock = LockReference(kind: .mutex, name: "")
    fields(of: node, FieldTables.mutex) { reader, key, value in
      switch key {
      case "name": lock.name = reader.text(value) ?? ""
      case "database": if reader.bool(value) == true { lock.kind = .databaseMutex }
      default: lock.namespace = reader.text(value).flatMap { $0.isEmpty ? nil : $0 }
      }
    }
    guard !lock.name.isEmpty else {
      report("a mutex needs a name", at: node.mark)
      return nil
    }
    return lock
  }

  private mutating func readSemaphore(_ node: DocumentNode) -> LockReference? {
    var lock = LockReference(kind: .configMap, name: "")
    var sourceCount = 0
    fields(of: node, FieldTables.semaphore) { reader, key, value in
      if value.isNull { return }
      switch key {
      case "configMapKeyRef":
        sourceCount += 1
        reader.fields(of: value, FieldTables.configMapKey) { reader, key, value in
          switch key {
          case "name": lock.name = reader.text(value) ?? ""
          case "key": lock.key = reader.text(value) ?? ""
          default: break  // optional: without a limit there is no lock
          }
        }
      case "database":
        sourceCount += 1
        lock.kind = .database
        reader.fields(of: value, FieldTables.databaseSemaphore) { reader, _, value in
          lock.name = reader.text(value) ?? ""
        }
      default: lock.namespace = reader.text(value).flatMap { $0.isEmpty ? nil : $0 }
      }
    }
    guard sourceCount == 1, !lock.name.isEmpty, lock.kind == .database || !lock.key.isEmpty else {
      report(
        "a semaphore needs the key of its limit: configMapKeyRef with name and key, or database with key", at: node.mark
      )
      return nil
    }
    return lock
  }

  mutating func readMemoization(_ node: DocumentNode) -> Memoization? {
    var memo = Memoization(key: "", cache: "")
    fields(of: node, FieldTables.memoize) { reader, key, value in
      switch key {
      case "key": memo.key = reader.text(value) ?? ""
      case "maxAge": memo.maxAge = reader.durationText(value).flatMap { $0.isEmpty ? nil : $0 }
      default:
        reader.fields(of: value, FieldTables.memoCache) { reader, _, value in
          reader.fields(of: value, FieldTables.memoConfigMap) { reader, _, value in
            memo.cache = reader.text(value) ?? ""
          }
        }
      }
    }
    guard !memo.key.isEmpty, !memo.cache.isEmpty else {
      if case .mapping = node.value { report("memoize needs a key and cache.configMap.name", at: node.mark) }
      return nil
    }
    return memo
  }
}
