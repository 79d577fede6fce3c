/** Metrics of tunnels: what they carry, how far away the gateways are, and when certificates end. */
import type { Registry } from 'prom-client'
import type { Status } from '../../model/views.ts'
import { counted, type Sample } from './counted.ts'

type Add = (name: string, help: string, labelNames: string[], samples: () => Iterable<Sample>) => void

const states = ['open', 'connecting', 'suspect', 'lost'] as const

export function addTunnelMetrics(registry: Registry, add: Add, status: () => Status): void {
  const ways = () =>
    status().clusters.flatMap(({ name, tunnels = [] }) =>
      tunnels.map(tunnel => ({ labels: { cluster: name, gateway: tunnel.gateway }, ...tunnel })),
    )
  const labels = ['cluster', 'gateway']
  add(
    'tunnel_state',
    '1 for the current state of the tunnels to a gateway, 0 for the others.',
    [...labels, 'state'],
    () => ways().flatMap(way => states.map((state): Sample => [{ ...way.labels, state }, Number(way.state === state)])),
  )
  add('tunnels', 'Open tunnels to a gateway.', labels, () =>
    ways().map(({ labels, tunnels }): Sample => [labels, tunnels]),
  )
  add('tunnel_streams', 'Flows in the tunnels to a gateway.', labels, () =>
    ways().map(({ labels, streams }): Sample => [labels, streams]),
  )
  add('tunnel_round_trip_seconds', 'Of the last ping to a gateway.', labels, () =>
    ways().flatMap(({ labels, roundTripMs }): Sample[] =>
      roundTripMs === undefined ? [] : [[labels, roundTripMs / 1000]],
    ),
  )
  add('tunnel_certificate_end_seconds', "When a gateway's certificate ends, in seconds since 1970.", labels, () =>
    ways().flatMap(({ labels, certificate }): Sample[] => (certificate ? [[labels, certificate.validTo / 1000]] : [])),
  )
  const peers = () => status().gateway?.clusters ?? []
  add('gateway_sessions', 'Sessions of other clusters at this gateway.', ['cluster'], () =>
    peers().map(({ cluster, sessions }): Sample => [{ cluster }, sessions]),
  )
  add('gateway_streams', 'Flows of other clusters through this gateway.', ['cluster'], () =>
    peers().map(({ cluster, streams }): Sample => [{ cluster }, streams]),
  )
  const help = 'Connections that this gateway has refused, by certificate or limit.'
  counted(registry, { name: 'starlane_gateway_refused_total', help }, () => {
    const { gateway } = status()
    return gateway ? [[{}, gateway.refused]] : []
  })
}
