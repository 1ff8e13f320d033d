internal import Execution
internal import FederationModel
internal import Testing

@testable internal import KubernetesExecutor

/// What the API server is asked to make of a gang.
@Suite struct GangManifestTests {
  private static let configuration = JobManifestTests.configuration { $0.queues = ["p": "team"] }
  private static func gang(_ size: Int, project: ProjectName = "p") -> RunRequest {
    JobManifestTests.request {
      $0.spec.federation.gangSize = size
      $0.project = project
      $0.walltime = .seconds(100)
    }
  }

  @Test("I6: all pods of a gang are one Indexed Job, which Kueue lets go; each has a name that the others know")
  func job() throws {
    let manifest = try JobManifestTests.manifest(Self.gang(4), Self.configuration, minor: 36)
    let spec = manifest.job["spec"]
    #expect(spec?["completionMode"] == "Indexed")
    #expect(spec?["completions"] == 4 && spec?["parallelism"] == 4 && spec?["backoffLimit"] == 0)
    #expect(spec?["suspend"] == true)
    #expect(manifest.job["metadata"]?["labels"]?["kueue.x-k8s.io/queue-name"] == "team")
    let pod = JobManifestTests.pod(manifest)
    #expect(pod["subdomain"]?.stringValue == manifest.name.text)
    // The members may have waited for each other.
    #expect(pod["activeDeadlineSeconds"] == 1330)
    let gang = try #require(manifest.plan.gang)
    #expect(gang.size == 4 && manifest.shared.gangSize == 4)
    #expect(gang.host(3) == "\(manifest.name.text)-3.\(manifest.name.text)")
    #expect("\(manifest.name.text)-999".utf8.count <= 63, "a pod's host name")
    let single = try JobManifestTests.manifest(Self.gang(1), Self.configuration)
    #expect(single.job["spec"]?["completionMode"] == nil && single.plan.gang == nil)
    #expect(JobManifestTests.pod(single)["subdomain"] == nil && single.shared.gangSize == nil)
  }

  @Test("the Service of a gang is its Job's, has no address, and chooses the run's pods before they are ready")
  func service() throws {
    let job = Objects.job(spec: ["completionMode": "Indexed", "completions": 2])
    #expect(job.gangSize == 2)
    let service = JobManifest.service(for: job, mark: Objects.mark)
    #expect(service["metadata"]?["ownerReferences"]?[0]?["uid"]?.stringValue == job.uid)
    #expect(service["metadata"]?["name"]?.stringValue == job.name)
    #expect(service["spec"]?["clusterIP"] == "None" && service["spec"]?["publishNotReadyAddresses"] == true)
    let selector = try #require(service["spec"]?["selector"]?.objectValue)
    let labels = Objects.name.labels(project: "p")
    #expect(!selector.isEmpty && selector.allSatisfy { labels[$0.key] == $0.value })
  }

  @Test(
    "where nothing lets all pods start or none a gang is refused with the reason",
    arguments: [
      ("q", 36, 2, "project q has no queue of Kueue"), ("p", 23, 2, "that takes Kubernetes 1.24, and this is 1.23"),
      ("p", 36, 1001, "gangs on Kubernetes have 1000 members at most"),
    ])
  func refused(_ project: String, _ minor: Int, _ size: Int, _ reason: String) {
    do {
      _ = try JobManifestTests.manifest(
        Self.gang(size, project: ProjectName(project)), Self.configuration, minor: minor)
      Issue.record("it was not refused")
    } catch {
      let failure = error as? FederationError
      #expect(failure?.code == .unplaceable && failure?.publicMessage.contains(reason) == true, "\(error)")
    }
  }
}
