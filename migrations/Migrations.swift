/// The SQL of every migration, embedded when the package is built, in order. A new file is added to this list and to the target's
/// resources in Package.swift.
public enum EmbeddedMigrations {
  /// File name and text.
  public static var all: [(name: String, sql: String)] {
    [
      ("V0001__foundation.sql", String(decoding: PackageResources.V0001__foundation_sql, as: UTF8.self)),
      (
        "V0002__slices_and_indexes.sql",
        String(decoding: PackageResources.V0002__slices_and_indexes_sql, as: UTF8.self)
      ),
      ("V0003__certificate_trust.sql", String(decoding: PackageResources.V0003__certificate_trust_sql, as: UTF8.self)),
      ("V0004__changes.sql", String(decoding: PackageResources.V0004__changes_sql, as: UTF8.self)),
      ("V0005__data.sql", String(decoding: PackageResources.V0005__data_sql, as: UTF8.self)),
      (
        "V0006__prices_and_packs.sql", String(decoding: PackageResources.V0006__prices_and_packs_sql, as: UTF8.self)
      ),
      ("V0007__data_lifecycle.sql", String(decoding: PackageResources.V0007__data_lifecycle_sql, as: UTF8.self)),
      ("V0008__input_bytes.sql", String(decoding: PackageResources.V0008__input_bytes_sql, as: UTF8.self)),
      ("V0009__artifact_garbage.sql", String(decoding: PackageResources.V0009__artifact_garbage_sql, as: UTF8.self)),
      ("V0010__ledger.sql", String(decoding: PackageResources.V0010__ledger_sql, as: UTF8.self)),
      ("V0011__access.sql", String(decoding: PackageResources.V0011__access_sql, as: UTF8.self)),
      ("V0012__shares.sql", String(decoding: PackageResources.V0012__shares_sql, as: UTF8.self)),
      ("V0013__allowances.sql", String(decoding: PackageResources.V0013__allowances_sql, as: UTF8.self)),
      ("V0014__data.sql", String(decoding: PackageResources.V0014__data_sql, as: UTF8.self)),
      ("V0015__preemption.sql", String(decoding: PackageResources.V0015__preemption_sql, as: UTF8.self)),
      ("V0016__egress.sql", String(decoding: PackageResources.V0016__egress_sql, as: UTF8.self)),
      ("V0017__slices.sql", String(decoding: PackageResources.V0017__slices_sql, as: UTF8.self)),
      ("V0018__spot.sql", String(decoding: PackageResources.V0018__spot_sql, as: UTF8.self)),
      ("V0019__organisations.sql", String(decoding: PackageResources.V0019__organisations_sql, as: UTF8.self)),
      ("V0020__objects.sql", String(decoding: PackageResources.V0020__objects_sql, as: UTF8.self)),
      ("V0021__cron_states.sql", String(decoding: PackageResources.V0021__cron_states_sql, as: UTF8.self)),
      ("V0023__gates.sql", String(decoding: PackageResources.V0023__gates_sql, as: UTF8.self)),
      ("V0024__ttl.sql", String(decoding: PackageResources.V0024__ttl_sql, as: UTF8.self)),
      ("V0025__daemons.sql", String(decoding: PackageResources.V0025__daemons_sql, as: UTF8.self)),
      ("V0029__held_artifacts.sql", String(decoding: PackageResources.V0029__held_artifacts_sql, as: UTF8.self)),
      ("V0031__jobs.sql", String(decoding: PackageResources.V0031__jobs_sql, as: UTF8.self)),
      ("V0034__grants.sql", String(decoding: PackageResources.V0034__grants_sql, as: UTF8.self)),
      ("V0035__run_causes.sql", String(decoding: PackageResources.V0035__run_causes_sql, as: UTF8.self)),
      ("V0036__machine_types.sql", String(decoding: PackageResources.V0036__machine_types_sql, as: UTF8.self)),
      ("V0046__left_out_tasks.sql", String(decoding: PackageResources.V0046__left_out_tasks_sql, as: UTF8.self)),
      ("V0052__partition_prices.sql", String(decoding: PackageResources.V0052__partition_prices_sql, as: UTF8.self)),
    ]
  }
}
