internal import Foundation
internal import Subprocess

/// A real S3 service of a test's own, with one bucket: Python's `moto`.
public enum S3Service {
  public static let bucket = "fubini-test"

  /// Runs `body` with the URL of a service that ends with it. Says so, and does nothing, where there is none.
  public static func with(_ body: @Sendable @escaping (_ url: String) async throws -> Void) async throws {
    let probe = try? await run(
      .name("python3"), arguments: ["-c", "import moto.server, flask, boto3"], output: .discarded)
    guard probe?.terminationStatus.isSuccess == true else {
      print("skipped: no S3 service here (`pip install 'moto[server]'` brings one)")
      return
    }
    _ = try await run(
      .name("python3"), arguments: ["-c", script], input: .inputWriter, output: .sequence, error: .discarded
    ) { execution in
      for try await line in execution.standardOutput.strings() {
        guard let port = Int(line.trimmingCharacters(in: .whitespacesAndNewlines)) else { continue }
        try await body("http://127.0.0.1:\(port)")
        break
      }
      try await execution.standardInputWriter.finish()
    }
  }

  /// The credentials' files and the lines of a `s3:` block, for the configuration of a control plane.
  public static func configuration(at url: String, prefix: String, directory: String) throws -> [String: String] {
    for (name, text) in [("id", "AKIATEST\n"), ("secret", "s3cr3t-key\n")] {
      try Data(text.utf8).write(to: URL(fileURLWithPath: "\(directory)/s3-\(name)"))
    }
    return [
      "bucket": bucket, "prefix": prefix, "endpoint": url, "region": "us-east-1",
      "accessKeyIdFile": directory + "/s3-id", "secretAccessKeyFile": directory + "/s3-secret",
    ]
  }

  // Of an unversioned bucket moto says that a multipart object has the version "null", and then refuses to be asked for it.
  private static let script = """
    import sys, boto3
    from moto.server import ThreadedMotoServer
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    port = server.get_host_and_port()[1]
    s3 = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
      aws_access_key_id="a", aws_secret_access_key="b")
    s3.create_bucket(Bucket="\(bucket)")
    s3.put_bucket_versioning(Bucket="\(bucket)", VersioningConfiguration={"Status": "Enabled"})
    print(port, flush=True)
    sys.stdin.read()
    """
}
