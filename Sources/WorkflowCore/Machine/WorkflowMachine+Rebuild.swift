import FederationModel

/// From records back to a machine.
extension WorkflowMachine {
  /// Derives everything from `status` and `nodes`. What waits keeps its turn, because turns go by ordinal.
  mutating func rebuild() throws {
    flags = []
    depths = []
    (stepsFrames, groupFrames, dagFrames, slotFrames, exitNodes, hookNodes) = ([:], [:], [:], [:], [:], [:])
    (root, exitHandler, activeTasks) = (-1, -1, 0)
    daemons = [:]
    (wakes, openLoops) = (MinHeap(), [:])
    flags.reserveCapacity(nodes.count)
    depths.reserveCapacity(nodes.count)
    for index in nodes.indices {
      attach(Int32(index))
      let node = nodes[index]
      guard !node.isSuperseded, node.hasBegun else { continue }
      if node.type == .dag { try? openDAG(Int32(index)) }
      if node.type == .steps || node.type == .dag, let limit = plan(of: Int32(index))?.template.parallelism, limit > 0 {
        slotFrames[Int32(index)] = SlotFrame(limit: limit)
      }
    }
    countSettled()
    rebuildAgenda()
    for index in nodes.indices
    where !nodes[index].isSuperseded && !nodes[index].phase.isTerminal && nodes[index].hasBegun {
      takeSlots(Int32(index))
      if let moment = nodes[index].wakeAt { wakes.push(Wake(at: moment, node: Int32(index))) }
    }
    for index in nodes.indices
    where !nodes[index].isSuperseded && !nodes[index].phase.isTerminal && !nodes[index].hasBegun {
      admit(Int32(index))
    }
  }

  /// Settles what has settled, in ordinal order: a task's dependencies come before it.
  private mutating func countSettled() {
    for index in nodes.indices {
      let (node, ordinal) = (nodes[index], Int32(index))
      guard node.role == .step, !node.isSuperseded, node.phase.isTerminal || node.isDaemoned,
        let parent = node.parent?.ordinal
      else { continue }
      // Its parent has not taken note of its end, or of its exit handler's; the agenda has it.
      if node.isEndPending, !node.isDaemoned { continue }
      if let exit = exitNodes[ordinal], !nodes[Int(exit)].phase.isTerminal || nodes[Int(exit)].isEndPending { continue }
      guard hooksAreDone(of: ordinal) else { continue }
      flags[index].insert(.isSettled)
      if dagFrames[parent] != nil, let dag = plan(of: parent)?.dag {
        countOff(node.step, of: parent, in: dag)
        dagFrames[parent]!.active -= 1
        for dependent in dag.dependents[Int(node.step)] { dagFrames[parent]!.remaining[Int(dependent)] -= 1 }
      } else if groupFrames[parent] != nil {
        groupFrames[parent]!.outstanding -= 1
      }
    }
  }

  /// The slots of a node that has begun.
  private mutating func takeSlots(_ node: Int32) {
    if nodes[Int(node)].isDaemoned { return }
    if nodes[Int(node)].type.isTask {
      activeTasks += 1
      flags[Int(node)].insert(.holdsTaskSlot)
    }
    guard let boundary = gate(of: node) else { return }
    slotFrames[boundary]!.active += 1
    flags[Int(node)].insert(.holdsSlot)
  }
}
