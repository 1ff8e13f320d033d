import FederationModel
import Foundation
import SlurmFrontDoor
import Testing

@Suite("Job files of Lebesgue and Bohrium")
struct JobFileTests {
  static func file(_ json: String, _ overrides: [String: JSONValue] = [:]) throws -> JobFile {
    try JobFile(try JSONDecoder().decode(JSONValue.self, from: Data(json.utf8)), overrides: overrides)
  }

  @Test("the fields that the public documents name are read, under both of their names")
  func fields() throws {
    let file = try Self.file(
      """
      {"job_name": "DeePMD-kit test", "command": "cd se_e2_a && dp train input.json", "log_file": "se_e2_a/tmp_log",
       "backward_files": ["se_e2_a/lcurve.out", "*.pb"], "project_id": 154, "platform": "ali", "disk_size": 100,
       "machine_type": "c4_m15_1 * NVIDIA T4", "job_type": "container", "image_address": "registry/dp:2.1", "nnode": 3,
       "max_run_time": 90, "max_reschedule_times": 3, "dataset_path": ["/bohr/water-7a2f/v3", "cells@2"], "result_path": ""}
      """)
    #expect(file.jobName == "DeePMD-kit test" && file.project == "154" && file.timeSeconds == 5400)
    #expect(file.outputFiles == ["se_e2_a/lcurve.out", "*.pb"] && file.logFiles == ["se_e2_a/tmp_log"])
    #expect(file.returned == ["se_e2_a/lcurve.out", "*.pb", "se_e2_a/tmp_log"] && file.resultPath == nil)
    #expect(
      file.datasets == [
        .init(name: "water-7a2f", version: 3, path: "/bohr/water-7a2f/v3"),
        .init(name: "cells", version: 2, path: "/bohr/cells/v2"),
      ])
    #expect(file.notes.count == 4, "\(file.notes)")
    let request = file.request(try #require(MachineType(name: file.machineType)))
    #expect(
      request.cpusOnNode == 4 && request.nodeCount == 3 && request.taskCount == 3
        && request.memoryOnNodeMebibytes == 15 << 10 && request.gpusOnNode == 1)
    #expect(request.gpuType == "t4" && request.account == "154" && request.export == .none)
  }

  @Test("what is given beside the file takes the place of what it says")
  func overrides() throws {
    let file = try Self.file(
      #"{"command": "a", "machine_type": "c2_m4_cpu", "image_address": "i", "project_id": 1}"#,
      ["command": "b", "project_id": "physics"])
    #expect(file.command == "b" && file.project == "physics" && file.returned.isEmpty)
  }

  @Test(
    "what a job file cannot have is refused by its name",
    arguments: [
      (#"[]"#, "a job file is a JSON object"), (#"{"command": "a"}"#, "the job file says no machine_type"),
      (#"{"command": "a", "machine_type": "c2_m4_cpu"}"#, "the job file says no image_address"),
      (#"{"command": 1.5}"#, "command of the job file must be a text"),
      (#"{"comand": "a", "command": "a", "machine_type": "m", "image_address": "i"}"#, "unknown field comand"),
      (#"{"out_files": ["../x"], "command": "a", "machine_type": "m", "image_address": "i"}"#, "no files below"),
      (#"{"max_run_time": -1, "command": "a", "machine_type": "m", "image_address": "i"}"#, "whole number"),
      (#"{"dataset_path": ["x@y"], "command": "a", "machine_type": "m", "image_address": "i"}"#, "no version"),
    ])
  func refused(_ json: String, _ text: String) {
    let refusal = #expect(throws: SlurmRefusal.self) { try Self.file(json) }
    #expect(refusal?.lines.joined().contains(text) == true, "\(String(describing: refusal))")
  }

  @Test("names of machine types say what they are; others are nobody's")
  func machineTypes() {
    #expect(MachineType(name: "c2_m4_cpu") == MachineType(cpus: 2, memoryMebibytes: 4096))
    #expect(
      MachineType(name: "c8_m31_2 * NVIDIA V100 SXM2")
        == MachineType(cpus: 8, memoryMebibytes: 31 << 10, gpus: 2, gpuType: "v100-sxm2"))
    for name in ["", "c2_m4", "c2_m4_gpu", "c0_m4_cpu", "cx_m4_cpu", "c2_4_cpu", "c2_m4_1 *", "c2_m4_x * T4", "small"] {
      #expect(MachineType(name: name) == nil, "\(name)")
    }
  }

  @Test("a job's document has its image, its data sets, its files, and the claim of a directory that is shared")
  func document() throws {
    var request = BatchRequest()
    request.cpusPerTask = 2
    var document = JobDocument(
      request, name: "n", directory: "/shared/home/ann", host: "h", user: "u", project: "p", submissionKey: "k",
      arguments: [])
    document.image = "python:3.12"
    document.datasets = [.init(name: "water", version: 3, path: "/bohr/water/v3")]
    document.outputFiles = ["a", "b c*"]
    document.shared = SharedDirectory(path: "/shared", mark: "home\n")
    let json = try document.json()
    let template = try #require(json["spec"]?["templates"]?[0])
    #expect(template["script"]?["image"] == "python:3.12")
    #expect(template["script"]?["volumeMounts"] == [["name": "submit", "mountPath": "/shared"]])
    #expect(json["spec"]?["volumes"] == [["name": "submit", "persistentVolumeClaim": ["claimName": "home"]]])
    #expect(
      template["federation"]?["datasets"] == [["name": "water", "mountPath": "/bohr/water/v3", "version": 3]])
    let environment = template["script"]?["env"]?.arrayValue ?? []
    #expect(environment.contains(["name": "FUBINI_OUT", "value": "a\nb c*"]))
    #expect(environment.contains(["name": "FUBINI_IN_PLACE", "value": "1"]))
  }

  @Test("a shared directory's mark names a claim; anything else is no mark")
  func marks() {
    #expect(SharedDirectory(path: "/s", mark: "home-1.x_y\nmore")?.claim == "home-1.x_y")
    for mark in ["", "\n", "a b", "a/b", "{{x}}", String(repeating: "x", count: 64)] {
      #expect(SharedDirectory(path: "/s", mark: mark) == nil, "\(mark)")
    }
    #expect(SharedDirectory(path: "/", mark: "home") == nil && SharedDirectory(path: "s", mark: "home") == nil)
  }
}

@Suite("Clusters as sinfo tells them")
struct ClusterFormatTests {
  static func line(_ name: String, _ partition: String, _ state: ClusterLine.State, gpus: Int64 = 0) -> ClusterLine {
    var line = ClusterLine(name: name, partition: partition, state: state)
    (line.cpus, line.memoryMebibytes, line.gpus, line.gpuTypes) = (8, 16_384, gpus, gpus > 0 ? ["a100"] : [])
    return line
  }

  @Test("clusters that differ in nothing that is shown are one line, as nodes of a partition are")
  func grouped() throws {
    let lines = [Self.line("a", "gpu", .idle), Self.line("b", "gpu", .idle), Self.line("c", "gpu", .mixed)]
    #expect(
      ClusterFormat.standard.lines(lines, hasHeading: true) == [
        "PARTITION AVAIL  TIMELIMIT  NODES  STATE NODELIST",
        "gpu          up   infinite      2   idle a,b", "gpu          up   infinite      1    mix c",
      ])
    #expect(try ClusterFormat("%P").lines(lines, hasHeading: false) == ["gpu"])
    #expect(try ClusterFormat("%n %c").lines(lines, hasHeading: false) == ["a 8", "b 8", "c 8"])
    #expect(
      try ClusterFormat("%R|%F|%C|%G").lines([Self.line("x", "x", .down, gpus: 2)], hasHeading: false) == [
        "x|0/0/1/1|0/0/8/8|gpu:a100:2"
      ])
    #expect(
      try ClusterFormat(fields: "partition:5,nodes:.3").lines(lines, hasHeading: true) == ["PARTINOD", "gpu    3"])
  }

  @Test("a letter that means nothing is refused in sinfo's words")
  func refused() {
    let refusal = #expect(throws: SlurmRefusal.self) { try ClusterFormat("%q") }
    #expect(refusal?.text(of: "sinfo") == "Invalid node format specification: q" && refusal?.exitCode == 1)
  }

  @Test("lists of nodes are written out, with their zeros, up to a bound")
  func nodeLists() {
    #expect(NodeList.names("n[01-03,7],login,a[1-2]b") == ["n01", "n02", "n03", "n7", "login", "a1b", "a2b"])
    #expect(NodeList.names("") == [] && NodeList.names("n[x]") == ["nx"] && NodeList.names("n[1-2") == ["n[1-2"])
    #expect(NodeList.names("n[1-999999999]").count == NodeList.countMax)
    #expect(NodeList.names("a[1-3000]b[1-3000]").count == NodeList.countMax)
  }

  @Test("a job that has started has a batch step in sacct; one that waits has none")
  func steps() throws {
    var line = DisplayTests.line()
    #expect(line.steps.isEmpty)
    (line.startedAt, line.state) = (line.submittedAt, .running)
    let format = try AccountingFormat("jobid,jobidraw,jobname,user,state,maxrss")
    let rows = ([line] + line.steps).map { format.line($0, .parsable2("|"), DisplayTests.moment) }
    #expect(rows == ["123|123|train-the-model|ann|RUNNING|\n", "123.batch|123.batch|batch||RUNNING|\n"])
    #expect(line.steps[0].steps.isEmpty)
    let lines = [line] + line.steps
    func named(_ text: String) throws -> [String] {
      let selector = try #require(JobSelector(text))
      return lines.filter { selector.namesExactly($0) }.map(\.id)
    }
    #expect(try named("123") == ["123", "123.batch"] && named("123.batch") == ["123.batch"])
    #expect(try named("123.0").isEmpty)
  }
}
