/// A workflow that counts five a second, and puts down how far it has come only when it is told to leave.
enum Counter {
  /// - Parameter federation: the template's `federation` section, each line as it is; its checkpoint is `count`.
  static func workflow(to end: Int, federation: String) -> String {
    let section = federation.split(separator: "\n").map { "      " + $0 }.joined(separator: "\n")
    return """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: counter}
      spec:
        entrypoint: main
        templates:
        - name: main
          federation:
      \(section)
          outputs: {artifacts: [{name: count, path: /tmp/count, archive: {none: {}}}]}
          script:
            image: debian:12
            command: [bash]
            resources: {requests: {cpu: "1"}}
            source: |
              n=$(cat /tmp/count 2>/dev/null || echo 0)
              trap 'echo $n > /tmp/count; echo "left at $n"; exit 0' USR1
              echo "attempt $FUBINI_RESTART_COUNT begins at $n"
              while [ $n -lt \(end) ]; do sleep 0.2; n=$((n+1)); done
              echo $n > /tmp/count
              echo "done at $n"
      """
  }
}
