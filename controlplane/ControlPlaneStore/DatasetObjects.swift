public import FederationModel
import Postgres

/// Which objects of the repository data sets are made of, so that what no version uses any more can be deleted.
///
/// These rows bypass the core: they decide nothing. A manifest's row holds the rows of its packs, so whoever has registered a manifest
/// and then still finds its packs has them for as long as a version names it. An object is marked, deleted, and then forgotten: who
/// wants it in between waits, and what a cut sweep has left is swept by the next one.
extension ControlPlaneStore {
  /// Notes that packs are being uploaded, or were asked for: they are not swept for a while.
  ///
  /// - Throws: `.unavailable` when a sweep is just deleting one of them.
  public func seePacks(_ packs: [DatasetManifest.Pack], of project: ProjectName, at now: Timestamp) async throws {
    for start in stride(from: 0, to: packs.count, by: Self.objectsPerStatement) {
      let part = packs[start..<min(start + Self.objectsPerStatement, packs.count)]
      let seen = try await run(
        """
        INSERT INTO dataset_packs (project, sha256, bytes, seen_ms)
        SELECT DISTINCT ON (x.sha256) $1, x.sha256, x.bytes, $4 FROM unnest($2::text[], $3::int8[]) AS x (sha256, bytes)
        ORDER BY x.sha256
        ON CONFLICT (project, sha256) DO UPDATE SET seen_ms = greatest(dataset_packs.seen_ms, excluded.seen_ms)
          WHERE dataset_packs.releasing_ms IS NULL
        """, .text(project.text), .texts(part.map(\.sha256)), .int8s(part.map(\.size)), .int8(now.milliseconds))
      guard seen.affectedRows == Set(part.map(\.sha256)).count else {
        throw FederationError(
          .unavailable, "objects that nobody needed are just being deleted, some of these among them; try again soon",
          retryAfter: .seconds(1))
      }
    }
  }

  /// Notes what a manifest needs, before a version names it. Can be repeated.
  public func register(
    manifest key: String, of project: ProjectName, packs: [DatasetManifest.Pack], at now: Timestamp
  ) async throws {
    _ = try await run(
      """
      INSERT INTO dataset_manifests (project, key, seen_ms) VALUES ($1, $2, $3)
      ON CONFLICT (project, key) DO UPDATE SET seen_ms = greatest(dataset_manifests.seen_ms, excluded.seen_ms)
      """, .text(project.text), .text(key), .int8(now.milliseconds))
    try await seePacks(packs, of: project, at: now)
    for start in stride(from: 0, to: packs.count, by: Self.objectsPerStatement) {
      let part = packs[start..<min(start + Self.objectsPerStatement, packs.count)]
      _ = try await run(
        """
        INSERT INTO manifest_packs (project, manifest, sha256) SELECT DISTINCT $1, $2, x FROM unnest($3::text[]) AS x
        ON CONFLICT DO NOTHING
        """, .text(project.text), .text(key), .texts(part.map(\.sha256)))
    }
  }

  private static var objectsPerStatement: Int { 10_000 }

  /// Projects that have anything to sweep.
  public func projectsWithDatasetObjects() async throws -> [ProjectName] {
    try await run(
      """
      SELECT project FROM dataset_manifests UNION SELECT project FROM dataset_packs
      UNION SELECT project FROM dataset_versions WHERE manifest IS NOT NULL ORDER BY 1
      """
    ).rows.map { ProjectName(try $0.text(0)) }
  }

  /// The keys of manifests that versions name, each with whether its packs are needed in the repository: a version that is in its
  /// archive, or at its origin, needs its list alone. What was packed when it was looked at (git repositories) is the repository's.
  private static let named = """
    SELECT v.project, v.name, m.key, bool_or(m.needs) AS needs FROM dataset_versions v CROSS JOIN LATERAL (VALUES
      (v.manifest::jsonb ->> 'key', v.archive IS NULL AND coalesce(v.origin::jsonb ->> 'uri' LIKE 'git+%', true)),
      (v.stored::jsonb ->> 'key', true)) AS m (key, needs)
    WHERE v.project = $1 AND m.key IS NOT NULL GROUP BY v.project, v.name, m.key
    """

  /// Manifests that versions name and that are not registered, because agents made them, or without the packs that are needed, because
  /// those came back from an archive.
  public func unregisteredManifests(of project: ProjectName) async throws -> [(key: String, needsPacks: Bool)] {
    try await run(
      """
      WITH named AS (\(Self.named)), keys AS (SELECT key, bool_or(needs) AS needs FROM named GROUP BY key)
      SELECT key, needs FROM keys n
      WHERE NOT EXISTS (SELECT 1 FROM dataset_manifests m WHERE m.project = $1 AND m.key = n.key)
        OR (needs AND NOT EXISTS (SELECT 1 FROM manifest_packs p WHERE p.project = $1 AND p.manifest = n.key
          AND p.manifest <> 'datasets/objects/' || p.sha256))
      ORDER BY key
      """, .text(project.text)
    ).rows.map { (try $0.text(0), try $0.bool(1)) }
  }

  /// Packs of versions that are in their archive are held by these no longer.
  public func releaseArchived(of project: ProjectName) async throws {
    _ = try await run(
      """
      WITH named AS (\(Self.named)), gone AS (SELECT key FROM named GROUP BY key HAVING NOT bool_or(needs))
      DELETE FROM manifest_packs p USING gone WHERE p.project = $1 AND p.manifest = gone.key
        AND p.manifest <> 'datasets/objects/' || p.sha256
      """, .text(project.text))
  }

  /// Manifests that no version names, and that were registered before `moment`.
  public func unneededManifests(of project: ProjectName, seenBefore moment: Timestamp) async throws -> [String] {
    try await run(
      "SELECT key FROM dataset_manifests m WHERE \(Self.isUnneeded) ORDER BY key", .text(project.text),
      .int8(moment.milliseconds)
    ).rows.map { try $0.text(0) }
  }

  /// Forgets manifests that no version names; their packs are held by them no longer.
  public func forgetManifests(
    _ keys: [String], of project: ProjectName, seenBefore moment: Timestamp
  ) async throws {
    guard !keys.isEmpty else { return }
    _ = try await run(
      "DELETE FROM dataset_manifests m WHERE \(Self.isUnneeded) AND key = ANY ($3)", .text(project.text),
      .int8(moment.milliseconds), .texts(keys))
  }

  private static let isUnneeded = """
    project = $1 AND seen_ms < $2 AND NOT EXISTS (
      SELECT 1 FROM dataset_versions v WHERE v.project = $1
        AND m.key IN (v.manifest::jsonb ->> 'key', v.stored::jsonb ->> 'key'))
    """

  /// Marks packs that no manifest needs and that nobody has asked for since `moment`, at most `limit`: their objects are to be deleted
  /// by the caller alone, and then `forgetPacks(_:of:markedAt:)`.
  ///
  /// - Parameter stale: an earlier mark is taken over: whoever set it has not finished since.
  /// - Returns: their checksums.
  public func markPacks(
    of project: ProjectName, seenBefore moment: Timestamp, at now: Timestamp, stale: Timestamp, limit: Int
  ) async throws -> [String] {
    let isFree = "seen_ms < $2 AND (releasing_ms IS NULL OR releasing_ms < $3)"
    return try await run(
      """
      UPDATE dataset_packs SET releasing_ms = $4 WHERE project = $1 AND \(isFree) AND sha256 = ANY (ARRAY(
        SELECT p.sha256 FROM dataset_packs p WHERE p.project = $1 AND \(isFree) AND NOT EXISTS (
          SELECT 1 FROM manifest_packs n WHERE n.project = $1 AND n.sha256 = p.sha256) LIMIT $5))
      RETURNING sha256
      """, .text(project.text), .int8(moment.milliseconds), .int8(stale.milliseconds), .int8(now.milliseconds),
      .int8(Int64(limit))
    ).rows.map { try $0.text(0) }
  }

  /// The objects of packs that were marked at `mark` are gone.
  public func forgetPacks(_ sha256s: [String], of project: ProjectName, markedAt mark: Timestamp) async throws {
    _ = try await run(
      "DELETE FROM dataset_packs WHERE project = $1 AND sha256 = ANY ($2) AND releasing_ms = $3", .text(project.text),
      .texts(sha256s), .int8(mark.milliseconds))
  }

  /// Bytes in the repository of a data set's versions; what several share counts once.
  public func repositoryBytes(of dataset: DatasetReference) async throws -> Int64 {
    try await run(
      """
      WITH named AS (\(Self.named)) SELECT coalesce(sum(bytes), 0)::int8 FROM dataset_packs WHERE project = $1 AND sha256 IN (
        SELECT n.sha256 FROM manifest_packs n JOIN named ON named.key = n.manifest AND named.name = $2
        WHERE n.project = $1)
      """, .text(dataset.project.text), .text(dataset.name)
    ).rows.first?.int(0) ?? 0
  }
}
