public import FederationModel
import Postgres

/// Why a change of a stored object was not made.
public enum ObjectRefusal: Error, Hashable, Sendable {
  /// With what is there.
  case exists(StoredObject)
  case missing
  /// It has changed since; with what is there now.
  case stale(StoredObject)
  case tooMany
  case noProject
}

/// How many may hold the semaphores of a config map.
public struct ConfigMapLimits: Hashable, Sendable {
  public var project: ProjectName
  public var name: String
  /// Of the config map.
  public var revision: Int64
  public var limits: [String: Int]
}

/// Objects do not pass through the core: a submission takes from them what it needs, and nothing that runs reads them (ADR 25). Each
/// change is one statement, with its line of the audit log.
extension ControlPlaneStore {
  /// Adds an object.
  ///
  /// - Parameter limits: of the semaphores that a config map's keys name; they are rows of the same statement.
  /// - Returns: as it is stored.
  /// - Throws: `ObjectRefusal`.
  public func create(
    _ object: StoredObject, limits: [String: Int] = [:], from address: String = ""
  ) async throws -> StoredObject {
    let keys = limits.keys.sorted()
    let made = try await run(
      """
      WITH room AS (SELECT count(*) < $10 AS is_there FROM objects WHERE kind = $1 AND project = $2),
      made AS (
        INSERT INTO objects (kind, project, name, uid, revision, generation, labels, document, created_ms, created_by,
          changed_ms, changed_by)
        SELECT $1, $2, $3, $4, nextval('object_revisions'), 1, $5::jsonb, $6, $7, $8, $7, $8 FROM room
        WHERE is_there AND ($2 = '' OR EXISTS (SELECT 1 FROM projects WHERE name = $2 AND archived_ms IS NULL))
        ON CONFLICT DO NOTHING RETURNING *),
      noted AS (
        INSERT INTO audit (at_ms, actor, action, object, detail, address)
        SELECT $7, $8, $11, CASE WHEN $2 = '' THEN $3 ELSE $2 || '/' || $3 END, '', $9 FROM made),
      limited AS (\(Self.limiting("made", keys: "$12", limits: "$13")))
      SELECT \(Self.objectColumns) FROM made
      """, .text(object.kind.rawValue), .text(object.project.text), .text(object.name), .text(object.uid),
      .text(try RowJSON.encode(object.labels)), .text(object.document), .int8(object.createdAt.milliseconds),
      .text(object.createdBy), .text(address), .int8(Int64(object.kind.countMax)),
      .text("\(object.kind.resource.rawValue).create"), .texts(keys), .int8s(keys.map { Int64(limits[$0] ?? 0) }))
    if let row = made.rows.first { return try Self.object(row) }
    if let there = try await self.object(object.kind, object.name, in: object.project) {
      throw ObjectRefusal.exists(there)
    }
    let isFull = try await run(
      "SELECT count(*) >= $3 FROM objects WHERE kind = $1 AND project = $2", .text(object.kind.rawValue),
      .text(object.project.text), .int8(Int64(object.kind.countMax))
    )[0].bool(0)
    throw isFull ? ObjectRefusal.tooMany : ObjectRefusal.noProject
  }

  /// Replaces an object's document and labels.
  ///
  /// - Parameters:
  ///   - revision: what it must have still; nil: any.
  ///   - uid: what it must have; nil: any.
  ///   - limits: as of `create`; those that it had before and are not among these go.
  /// - Throws: `ObjectRefusal`.
  public func replace(
    _ kind: StoredObjectKind, _ name: String, in project: ProjectName, labels: [String: String], document: String,
    limits: [String: Int] = [:], revision: Int64? = nil, uid: String? = nil, by user: String, from address: String = "",
    at now: Timestamp
  ) async throws -> StoredObject {
    let place = kind.isFederal ? "" : project.text
    let keys = limits.keys.sorted()
    let changed = try await run(
      """
      WITH changed AS (
        UPDATE objects SET generation = generation + CASE WHEN document = $5 THEN 0 ELSE 1 END,
          revision = CASE WHEN document = $5 AND labels = $4::jsonb THEN revision ELSE nextval('object_revisions') END,
          labels = $4::jsonb, document = $5, changed_ms = $6, changed_by = $7
        WHERE kind = $1 AND project = $2 AND name = $3 AND ($8::int8 IS NULL OR revision = $8)
          AND ($9::text IS NULL OR uid = $9) RETURNING *),
      noted AS (
        INSERT INTO audit (at_ms, actor, action, object, detail, address)
        SELECT $6, $7, $11, CASE WHEN $2 = '' THEN $3 ELSE $2 || '/' || $3 END, '', $10 FROM changed),
      unlimited AS (
        DELETE FROM semaphore_limits l USING changed
        WHERE l.project = $2 AND l.kind = $1 AND l.name = $3 AND l.key <> ALL ($12)),
      limited AS (\(Self.limiting("changed", keys: "$12", limits: "$13")))
      SELECT \(Self.objectColumns) FROM changed
      """, .text(kind.rawValue), .text(place), .text(name), .text(try RowJSON.encode(labels)), .text(document),
      .int8(now.milliseconds), .text(user), .int8(revision), .text(uid), .text(address),
      .text("\(kind.resource.rawValue).update"), .texts(keys), .int8s(keys.map { Int64(limits[$0] ?? 0) }))
    if let row = changed.rows.first { return try Self.object(row) }
    throw try await refusal(kind, name, project)
  }

  /// SQL that writes the limits of the semaphores of a config map, if it was written. Their kind is `LockKind.configMap`, which is called as
  /// its objects are.
  private static func limiting(_ written: String, keys: String, limits: String) -> String {
    """
    INSERT INTO semaphore_limits (project, kind, name, key, limit_count)
    SELECT w.project, w.kind, w.name, l.key, l.limit_count
    FROM \(written) w CROSS JOIN unnest(\(keys)::text[], \(limits)::int8[]) AS l (key, limit_count)
    ON CONFLICT (project, kind, name, key) DO UPDATE SET limit_count = excluded.limit_count
    """
  }

  /// The limits of the semaphores of every config map that has any, and the revision that they are of.
  public func configMapLimits() async throws -> [ConfigMapLimits] {
    let rows = try await run(
      """
      SELECT o.project, o.name, o.revision, array_agg(l.key ORDER BY l.key), array_agg(l.limit_count::text ORDER BY l.key)
      FROM semaphore_limits l JOIN objects o ON (o.kind, o.project, o.name) = (l.kind, l.project, l.name)
      WHERE l.kind = $1 GROUP BY o.project, o.name, o.revision ORDER BY o.project, o.name
      """, .text(StoredObjectKind.configMap.rawValue))
    return try rows.rows.map { row in
      let keys = (try row.optionalTexts(3) ?? []).compactMap(\.self)
      let limits = (try row.optionalTexts(4) ?? []).compactMap { $0.flatMap { Int($0) } }
      return ConfigMapLimits(
        project: ProjectName(try row.text(0)), name: try row.text(1), revision: try row.int(2),
        limits: Dictionary(uniqueKeysWithValues: zip(keys, limits)))
    }
  }

  /// How many may hold one semaphore; nil: it has no limit.
  ///
  /// - Parameters:
  ///   - kind: as the lock's is written.
  ///   - name: of the config map, or the key of the database.
  ///   - key: of the config map's value; empty for the database.
  public func semaphoreLimit(_ kind: String, _ name: String, key: String, in project: ProjectName) async throws -> Int?
  {
    let rows = try await run(
      "SELECT limit_count FROM semaphore_limits WHERE project = $1 AND kind = $2 AND name = $3 AND key = $4",
      .text(project.text), .text(kind), .text(name), .text(key))
    return try rows.rows.first.map { Int(try $0.int(0)) }
  }

  /// Removes an object, and the limits of a config map's semaphores.
  ///
  /// - Returns: the revision that it had.
  /// - Throws: `ObjectRefusal`.
  @discardableResult
  public func removeObject(
    _ kind: StoredObjectKind, _ name: String, in project: ProjectName, revision: Int64? = nil, uid: String? = nil,
    by user: String, from address: String = "", at now: Timestamp
  ) async throws -> Int64 {
    let gone = try await run(
      """
      WITH gone AS (
        DELETE FROM objects WHERE kind = $1 AND project = $2 AND name = $3 AND ($6::int8 IS NULL OR revision = $6)
          AND ($7::text IS NULL OR uid = $7) RETURNING revision),
      unlimited AS (
        DELETE FROM semaphore_limits l USING gone WHERE l.project = $2 AND l.kind = $1 AND l.name = $3),
      noted AS (
        INSERT INTO audit (at_ms, actor, action, object, detail, address)
        SELECT $4, $5, $9, CASE WHEN $2 = '' THEN $3 ELSE $2 || '/' || $3 END, '', $8 FROM gone)
      SELECT revision FROM gone
      """, .text(kind.rawValue), .text(kind.isFederal ? "" : project.text), .text(name), .int8(now.milliseconds),
      .text(user), .int8(revision), .text(uid), .text(address), .text("\(kind.resource.rawValue).delete"))
    guard let row = gone.rows.first else { throw try await refusal(kind, name, project) }
    return try row.int(0)
  }

  private func refusal(_ kind: StoredObjectKind, _ name: String, _ project: ProjectName) async throws -> ObjectRefusal {
    try await object(kind, name, in: project).map { .stale($0) } ?? .missing
  }

  public func object(_ kind: StoredObjectKind, _ name: String, in project: ProjectName) async throws -> StoredObject? {
    try await run(
      "SELECT \(Self.objectColumns) FROM objects WHERE kind = $1 AND project = $2 AND name = $3", .text(kind.rawValue),
      .text(kind.isFederal ? "" : project.text), .text(name)
    ).rows.first.map(Self.object)
  }

  /// By name, after `name`; at most 500.
  ///
  /// - Parameter prefix: of the names; empty: any.
  public func objects(
    _ kind: StoredObjectKind, in project: ProjectName, where conditions: [LabelCondition] = [], prefix: String = "",
    after name: String = "", limit: Int
  ) async throws -> [StoredObject] {
    try await run(
      """
      SELECT \(Self.objectColumns) FROM objects
      WHERE kind = $1 AND project = $2 AND name > $3 AND starts_with(name, $5) AND \(Self.conditions("$6"))
      ORDER BY name LIMIT $4
      """, .text(kind.rawValue), .text(kind.isFederal ? "" : project.text), .text(name),
      .int8(Int64(min(max(limit, 1), 500))), .text(prefix), .text(try RowJSON.encode(conditions))
    ).rows.map(Self.object)
  }

  static let objectColumns = """
    kind, project, name, uid, revision, generation, labels::text, document, created_ms, created_by, changed_ms, changed_by
    """

  static func object(_ row: PostgresRow) throws -> StoredObject {
    var object = StoredObject(
      kind: try RowDecoder.word(try row.text(0), StoredObjectKind.self), project: ProjectName(try row.text(1)),
      name: try row.text(2), uid: try row.text(3), revision: try row.int(4), generation: try row.int(5),
      labels: try RowJSON.decode([String: String].self, try row.text(6)), document: try row.text(7),
      createdAt: try RowDecoder.time(row, 8), createdBy: try row.text(9))
    object.changedAt = try RowDecoder.time(row, 10)
    object.changedBy = try row.text(11)
    return object
  }
}
