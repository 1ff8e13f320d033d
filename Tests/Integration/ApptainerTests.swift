import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import Glibc
import LocalSlurm
import TestSupport
import Testing

extension Integration {
  /// Debian packages no Apptainer. In its place stands a small program of the same command line, which writes down how it was
  /// called and gives the command a root directory of its own, made of an unpacked image and the binds. So this shows what is
  /// asked of Apptainer, and that runs work within what it is asked for; not what Apptainer itself makes of it.
  @Suite(
    "Images by Apptainer, and the operator's batch script", .timeLimit(.minutes(10)),
    .enabled(if: SlurmFixture.isAvailable, "Slurm is not installed"))
  struct ApptainerTests {
    static let standIn = """
      #!/bin/bash -eu
      printf '%s\\n' "$@" >>"$(dirname "$0")/called.$$"
      echo "bind ${APPTAINER_BIND-nothing}" >>"$(dirname "$0")/called.$$"
      test "$1" = exec; shift
      roots=(--tmpfs / --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64
        --proc /proc --dev /dev --unshare-pid --die-with-parent)
      binds=()
      while [[ $1 == --* ]]; do
        case $1 in
          --bind)
            IFS=: read -r source target mode <<<"$2"
            if [ "$mode" = ro ]; then binds+=(--ro-bind "$source" "$target"); else binds+=(--bind "$source" "$target"); fi
            shift 2 ;;
          --pwd) directory=$2; shift 2 ;;
          --contain | --ipc | --pid | --no-home | --nv) shift ;;
          *) echo "no option of apptainer exec that is known here: $1" >&2; exit 64 ;;
        esac
      done
      for name in ${!APPTAINERENV_@}; do binds+=(--unsetenv "$name" --setenv "${name#APPTAINERENV_}" "${!name}"); done
      image=$1; shift
      exec bwrap "${roots[@]}" --ro-bind "$image/etc" /etc "${binds[@]}" --chdir "$directory" -- "$@"
      """

    @Test("a run in an image sees the image and its own files, and modules and scratch of the operator's batch script")
    func image() async throws {
      try await SlurmFixture.with("hpc", configure: { $0.gpusPerNode = 1 }) { slurm in
        let tools = slurm.shared + "/tools"
        let manager = FileManager.default
        try manager.createDirectory(atPath: tools + "/image/etc", withIntermediateDirectories: true)
        for path in [tools + "/image", tools + "/image/etc"] { chmod(path, 0o755) }
        chmod(tools, 0o777)
        try "image-of-the-test\n".write(toFile: tools + "/image/etc/release", atomically: true, encoding: .utf8)
        chmod(tools + "/image/etc/release", 0o644)
        try Self.standIn.write(toFile: tools + "/apptainer", atomically: true, encoding: .utf8)
        chmod(tools + "/apptainer", 0o755)
        let script = """
          |
              #!/bin/bash
              scratch=\(slurm.shared)/scratch.$SLURM_JOB_ID
              mkdir "$scratch"
              echo {{project}} >"$scratch/project"
              {{step}}
              mv "$scratch" \(tools)/used
              exit $fubini_status
          """
        var options = FederationOptions()
        options.agents = [
          SlurmMember.agent(
            "hpc", of: slurm.clusters[0], slurm, block: ["apptainer": tools + "/apptainer", "script": script],
            keys: ["images": "[{pattern: \"special:*\", runsAs: \"apptainer:\(tools)/image\"}]"])
        ]
        try await Federation.with(options) { federation in
          let client = try federation.client()
          let name = try await client.submit(Self.document).name
          let detail = try await client.finished(name, timeout: .seconds(120))
          let message = detail.nodes.map { "\($0.displayName): \($0.phase.rawValue) \($0.message)" }
          try #require(detail.summary.phase == .succeeded, "\(message)")
          let node = try #require(detail.nodes.first { $0.type == "Pod" })
          #expect(node.run?.runsAs == "apptainer:\(tools)/image")
          let log = try await client.log(name, node: node.name)
          #expect(log == "image-of-the-test\nfrom the document\nGPU 0\nno /etc/passwd\nit's /root\n")
          let used = try String(contentsOfFile: tools + "/used/project", encoding: .utf8)
          #expect(used == "default\n")
          let calls = try manager.contentsOfDirectory(atPath: tools).filter { $0.hasPrefix("called.") }
          try #require(calls.count == 1)
          let words = try String(contentsOfFile: "\(tools)/\(calls[0])", encoding: .utf8).split(separator: "\n")
          #expect(words.prefix(5) == ["exec", "--contain", "--ipc", "--pid", "--no-home"])
          #expect(words.contains("bind nothing"), "what an author names is the container's")
          #expect(words.contains("--nv") && words.contains("\(tools)/image"))
          // An image that no rule names is refused before anything is started.
          let other = try await client.submit(Integration.shell("true", name: "other")).name
          var reason = ""
          try await poll("its reason is told: \(reason)", timeout: .seconds(30)) {
            reason = try await client.workflow(other).nodes.first?.message ?? ""
            return reason.contains("no root file system to image debian:12")
          }
        }
      }
    }

    static let document = """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: image}
      spec:
        entrypoint: main
        templates:
        - name: main
          inputs: {artifacts: [{name: text, path: /data/in/text, raw: {data: "from the document"}}]}
          outputs: {artifacts: [{name: out, path: /results/out}]}
          script:
            image: special:1
            command: [sh, -eu]
            env: [{name: NOTE, value: "it's"}, {name: APPTAINER_BIND, value: /root}]
            source: |
              cat /etc/release /data/in/text
              echo
              echo "GPU $CUDA_VISIBLE_DEVICES"
              [ -e /etc/passwd ] || echo no /etc/passwd
              echo "$NOTE $APPTAINER_BIND"
              echo result >/results/out
            resources: {requests: {cpu: "1"}, limits: {nvidia.com/gpu: "1"}}
      """
  }
}
