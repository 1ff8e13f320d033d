internal import Foundation
internal import Subprocess

/// A real git server of a test's own: `git http-backend` behind Python's web server, which asks for a user and a password.
public enum GitService {
  public static let user = "reader"

  /// A repository `tool.git` with three commits, a tag, a branch and a submodule (`lib.git`), and what is in it.
  public struct Served: Sendable {
    /// `http://127.0.0.1:PORT`.
    public var url: String
    /// Of `tool.git`: its first commit.
    public var first: String
    /// Requests so far, one a line.
    public var log: String
    /// Where the repositories are.
    public var directory: String
  }

  /// Runs `body` with a server that ends with it.
  ///
  /// - Parameter password: what `user` has to say; nil: it is open to all.
  public static func with(
    password: String?, _ body: @Sendable @escaping (Served) async throws -> Void
  ) async throws {
    let directory = FileManager.default.temporaryDirectory.appendingPathComponent("fubini-git-\(UUID().uuidString)")
      .path
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: directory) }
    _ = try await run(
      .name("python3"), arguments: ["-c", script, directory],
      environment: .inherit.updating(["SERVED_PASSWORD": password ?? "", "SERVED_USER": user]), input: .inputWriter,
      output: .sequence, error: .discarded
    ) { execution in
      for try await line in execution.standardOutput.strings() {
        let words = line.split(whereSeparator: \.isWhitespace)
        guard words.count == 2, let port = Int(words[0]) else { continue }
        try await body(
          Served(
            url: "http://127.0.0.1:\(port)", first: String(words[1]), log: directory + "/requests",
            directory: directory))
        break
      }
      try await execution.standardInputWriter.finish()
    }
  }

  private static let script = #"""
    import base64, http.server, os, subprocess, sys, threading
    root = sys.argv[1]
    def git(*words, cwd=None):
        env = dict(os.environ, GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_NOSYSTEM="1", GIT_AUTHOR_NAME="t",
                   GIT_AUTHOR_EMAIL="t@example.org", GIT_COMMITTER_NAME="t", GIT_COMMITTER_EMAIL="t@example.org")
        return subprocess.run(["git", *words], cwd=cwd, env=env, check=True, capture_output=True, text=True).stdout.strip()
    def put(path, text):
        with open(path, "w") as f: f.write(text)
    password = os.environ["SERVED_PASSWORD"]
    wanted = "Basic " + base64.b64encode((os.environ["SERVED_USER"] + ":" + password).encode()).decode()
    class Handler(http.server.BaseHTTPRequestHandler):
        def do(self):
            with open(root + "/requests", "a") as log: log.write(self.command + " " + self.path + "\n")
            if password and self.headers.get("Authorization") != wanted:
                self.send_response(401); self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0"); self.end_headers(); return
            path, _, query = self.path.partition("?")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Transfer-Encoding") == "chunked":
                while (size := int(self.rfile.readline(), 16)): body += self.rfile.read(size); self.rfile.readline()
            env = dict(os.environ, GIT_PROJECT_ROOT=root, GIT_HTTP_EXPORT_ALL="1", PATH_INFO=path, QUERY_STRING=query,
                       REQUEST_METHOD=self.command, CONTENT_TYPE=self.headers.get("Content-Type") or "",
                       HTTP_CONTENT_ENCODING=self.headers.get("Content-Encoding") or "",
                       GIT_PROTOCOL=self.headers.get("Git-Protocol") or "", CONTENT_LENGTH=str(len(body)))
            done = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True).stdout
            head, _, rest = done.partition(b"\r\n\r\n")
            lines = [line.partition(": ") for line in head.decode().split("\r\n") if line]
            status = next((int(value.split()[0]) for name, _, value in lines if name == "Status"), 200)
            self.send_response(status)
            for name, _, value in lines:
                if name != "Status": self.send_header(name, value)
            self.send_header("Content-Length", str(len(rest))); self.end_headers(); self.wfile.write(rest)
        do_GET = do_POST = do
        def log_message(self, *words): pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port = server.server_address[1]
    work = root + "/work"; lib = root + "/libwork"
    git("init", "-q", "-b", "main", lib); put(lib + "/lib.txt", "library\n")
    git("add", "-A", cwd=lib); git("commit", "-qm", "lib", cwd=lib); git("clone", "-q", "--bare", lib, root + "/lib.git")
    git("init", "-q", "-b", "main", work); put(work + "/VERSION", "one\n")
    put(work + "/run.sh", "#!/bin/sh\necho ran\n"); os.chmod(work + "/run.sh", 0o755)
    git("add", "-A", cwd=work); git("commit", "-qm", "one", cwd=work); first = git("rev-parse", "HEAD", cwd=work)
    git("tag", "-a", "v1", "-m", "v1", cwd=work)
    git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", root + "/lib.git", "lib", cwd=work)
    git("config", "-f", ".gitmodules", "submodule.lib.url", "../lib.git", cwd=work)
    put(work + "/VERSION", "two\n"); git("add", "-A", cwd=work); git("commit", "-qm", "two", cwd=work)
    git("checkout", "-qb", "side", first, cwd=work); put(work + "/VERSION", "side\n")
    git("commit", "-qam", "side", cwd=work); git("checkout", "-q", "main", cwd=work)
    git("clone", "-q", "--bare", work, root + "/tool.git")
    git("config", "uploadpack.allowAnySHA1InWant", "true", cwd=root + "/tool.git")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(port, first, flush=True)
    sys.stdin.read()
    """#
}
