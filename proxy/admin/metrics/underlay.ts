/** Gauges of the underlay: the nodes that it should reach, whether it does, and how long packets take. */
import type { Status } from '../../model/views.ts'
import type { Sample } from './counted.ts'

type Add = (name: string, help: string, labelNames: string[], samples: () => Iterable<Sample>) => void

const states = ['unknown', 'reached', 'narrow', 'silent'] as const

export function addUnderlayGauges(add: Add, status: () => Status): void {
  const peers = () =>
    (status().underlay?.peers ?? []).map(peer => ({ ...peer, labels: { cluster: peer.cluster, node: peer.node } }))
  const labels = ['cluster', 'node']
  add(
    'underlay_peer_state',
    '1 for the current state of the way to a node through the underlay, 0 for the others. narrow: large packets do not arrive.',
    [...labels, 'state'],
    () =>
      peers().flatMap(peer => states.map((state): Sample => [{ ...peer.labels, state }, Number(peer.state === state)])),
  )
  add('underlay_round_trip_seconds', 'Of the last probe to a node through the underlay.', labels, () =>
    peers().flatMap(({ labels, roundTripMs }): Sample[] =>
      roundTripMs === undefined ? [] : [[labels, roundTripMs / 1000]],
    ),
  )
  add('underlay_left_out', 'Nodes or pod networks that the underlay does not join.', [], () => {
    const { underlay } = status()
    return underlay ? [[{}, underlay.leftOut.length]] : []
  })
}
