/** What `wg` is told, from what a device has to what the plan wants. */
import { endpointText } from '../../model/address.ts'
import type { Command } from '../command.ts'
import type { WireguardDevice, WireguardPeer } from '../plan.ts'
import type { WireguardState } from './state.ts'

/** So many peers in one run of `wg`: arguments have a limit. */
const chunk = 200

export function wireguardCommands(
  device: WireguardDevice,
  state: WireguardState | undefined,
  { keep }: { readonly keep: boolean },
): Command[] {
  const { name, port, publicKey, keyFile, peers } = device
  const wg = (...args: string[]): Command => ({ program: 'wg', line: args.join(' '), args })
  const hidesKey = state?.publicKey === '(none)' && state.peers.length > 0
  const isSame = state?.port === port && (state.publicKey === publicKey || hidesKey)
  const wanted = new Map(peers.map(peer => [peer.key, peer]))
  const known = new Map(state?.peers.map(peer => [peer.key, peer]))
  const gone = keep ? [] : [...known.keys()].filter(key => !wanted.has(key))
  const changed = peers.filter(peer => !isAs(known.get(peer.key), peer))
  // boringtun tells nobody its key, and ends when a peer that it knows is changed: there, peers are removed before.
  const replaced = hidesKey ? changed.filter(({ key }) => known.has(key)).map(({ key }) => key) : []
  const changes = [
    ...[...gone, ...replaced].map(key => ['peer', key, 'remove']),
    ...changed.map(peer => ['peer', peer.key, 'endpoint', endpointOf(peer), 'allowed-ips', peer.allowed.join(',')]),
  ]
  return [
    ...(isSame ? [] : [wg('set', name, 'listen-port', `${port}`, 'private-key', keyFile)]),
    ...Array.from({ length: Math.ceil(changes.length / chunk) }, (_, i) =>
      wg('set', name, ...changes.slice(i * chunk, (i + 1) * chunk).flat()),
    ),
  ]
}

/** A peer may send from another of its addresses, and WireGuard then answers there. */
function isAs(known: WireguardState['peers'][number] | undefined, peer: WireguardPeer): boolean {
  if (!known || known.allowed.toSorted().join() !== [...peer.allowed].sort().join()) return false
  return [peer.address, ...peer.others].some(address => known.endpoint === endpointOf({ ...peer, address }))
}

function endpointOf({ address, port }: Pick<WireguardPeer, 'address' | 'port'>): string {
  return endpointText(address, port)
}
