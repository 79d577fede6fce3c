/** The commands that lead from what this machine has to what the plan wants. Nothing of others is changed. */

import { familyOf } from '../model/address.ts'
import { MeshError } from '../model/error.ts'
import type { Command } from './command.ts'
import type { Device, EncapsulatingDevice, Forwarding, Neighbour, Plan, Route } from './plan.ts'
import { deviceAlias, type Present, type PresentDevice, routeProtocol } from './present.ts'
import { wireguardCommands } from './wireguard/commands.ts'

/** `keep`: adds and changes, but removes nothing, for the time until every cluster has been read. */
export function commandsFor(plan: Plan, present: Present, { keep = false } = {}): Command[] {
  const { device } = plan
  if (device && present.device && !present.device.isOurs) {
    const found = `a device ${device.name} is there that Starlane has not made`
    throw new MeshError('UNDERLAY', `${found}; choose another name with --device, or remove it`)
  }
  const old = present.device?.isOurs ? present.device : undefined
  const isNew = !old || !device || !isSameTunnel(device, old)
  // What was on a device is gone with it.
  const neighbours = isNew ? [] : present.neighbours
  const forwarding = isNew ? [] : present.forwarding
  const gone = new Set([...present.formerDevices, ...(isNew && old ? [old.name] : [])])
  const routes = present.routes.filter(route => !gone.has(route.device))
  const leaves = <T>(before: readonly T[], after: readonly T[], key: (each: T) => string): T[] =>
    keep ? [] : without(before, after, key)

  return [
    ...leaves(routes, plan.routes, ({ cidr }) => cidr).map(removeRoute),
    ...(device || !keep ? [...gone].map(name => ip(`link del dev ${name}`)) : []),
    ...(device
      ? [...(isNew ? addDevice(device) : changeDevice(device, old, keep)), ...addressesOf(device, isNew, old)]
      : []),
    ...leaves(neighbours, plan.neighbours, ({ address }) => address).map(each => removeNeighbour(each, plan.device)),
    ...leaves(forwarding, plan.forwarding, ({ mac }) => mac).map(each => removeEntry(each, plan.device)),
    ...without(plan.neighbours, neighbours, neighbourText).map(each => putNeighbour(each, plan.device)),
    ...without(plan.forwarding, forwarding, entryText).map(each => putEntry(each, plan.device)),
    ...without(plan.routes, routes, routeText).map(putRoute),
  ]
}

/** Removes all that is ours. */
export function commandsToRemove(present: Present): Command[] {
  const nothing = { neighbours: [], forwarding: [], routes: [], peers: [], leftOut: [], own: [], inside: [] }
  const none: Plan = { device: undefined, ...nothing }
  return commandsFor(none, present)
}

/** The kernel changes none of these in place. */
function isSameTunnel(device: Device, old: PresentDevice): boolean {
  // One whose program has ended answers no questions, and is made again.
  if (device.kind === 'wireguard') return old.wireguard !== undefined
  const { kind, vni, port, local, mac } = device
  if (kind !== old.kind || port !== old.port || mac !== old.mac) return false
  if (kind === 'geneve') return old.isExternal
  return vni === old.vni && local === old.local && !old.learns
}

function addDevice(device: Device): Command[] {
  const { name, mtu } = device
  const made =
    device.kind === 'wireguard'
      ? [
          { program: 'device', line: name } as const,
          ip(`link set dev ${name} mtu ${mtu}`),
          ...wireguardCommands(device, undefined, { keep: false }),
        ]
      : [addEncapsulating(device)]
  return [
    ...made,
    ip(`link set dev ${name} alias ${deviceAlias}`),
    ip(`link set dev ${name} addrgenmode none`),
    ip(`link set dev ${name} up`),
  ]
}

/** `external`: routes say where packets go; the device takes packets of every VNI. */
function addEncapsulating({ kind, name, vni, port, local, mac, mtu }: EncapsulatingDevice): Command {
  const how = kind === 'vxlan' ? `id ${vni} local ${local} dstport ${port} nolearning` : `external dstport ${port}`
  return ip(`link add dev ${name} address ${mac} mtu ${mtu} type ${kind} ${how}`)
}

function changeDevice(device: Device, old: PresentDevice | undefined, keep: boolean): Command[] {
  const { name, mtu } = device
  return [
    ...(device.kind === 'wireguard' ? wireguardCommands(device, old?.wireguard, { keep }) : []),
    ...(mtu === old?.mtu ? [] : [ip(`link set dev ${name} mtu ${mtu}`)]),
    ...(old?.isUp ? [] : [ip(`link set dev ${name} up`)]),
  ]
}

function addressesOf({ name, addresses }: Device, isNew: boolean, old: PresentDevice | undefined): Command[] {
  const before = isNew ? [] : (old?.addresses ?? [])
  return [
    ...addresses
      .filter(address => !before.includes(address))
      .map(address => ip(`addr add ${address} dev ${name}${address.includes(':') ? ' nodad' : ''}`)),
    ...before.filter(address => !addresses.includes(address)).map(address => ip(`addr del ${address} dev ${name}`)),
  ]
}

const ip = (line: string): Command => ({ program: 'ip', line })
const bridge = (line: string): Command => ({ program: 'bridge', line })

const neighbourText = ({ address, mac }: Neighbour): string => `${address} lladdr ${mac}`
const entryText = ({ mac, node }: Forwarding): string => `${mac} dst ${node}`
const wayText = ({ via, device }: Route): string => `${via && ` via ${via}`} dev ${device}`
const routeText = (route: Route): string => `${route.cidr}${withinText(route)}${wayText(route)}`
/** The kernel drops UDP in IPv6 without a checksum (RFC 8200 section 8.1). */
const withinText = ({ within }: Route): string => {
  if (!within) return ''
  const { vni, local, node } = within
  return familyOf(node) === 4
    ? ` encap ip id ${vni} src ${local} dst ${node}`
    : ` encap ip6 id ${vni} src ${local} dst ${node} csum`
}

const putNeighbour = (each: Neighbour, device?: Device) =>
  ip(`neigh replace ${neighbourText(each)} dev ${device?.name} nud permanent`)
const removeNeighbour = ({ address }: Neighbour, device?: Device) => ip(`neigh del ${address} dev ${device?.name}`)
const putEntry = ({ mac, node }: Forwarding, device?: Device) =>
  bridge(`fdb replace ${mac} dev ${device?.name} dst ${node} self permanent`)
const removeEntry = ({ mac, node }: Forwarding, device?: Device) =>
  bridge(`fdb del ${mac} dev ${device?.name} dst ${node} self`)
/** `onlink`: the first address of a pod network is in no network of the device. */
const putRoute = (route: Route) =>
  ip(
    `route replace ${routeText(route)}${route.via && route.cidr.startsWith(`${route.via}/`) ? ' onlink' : ''} proto ${routeProtocol}`,
  )
const removeRoute = (route: Route) => ip(`route del ${route.cidr}${wayText(route)} proto ${routeProtocol}`)

function without<T>(these: readonly T[], those: readonly T[], key: (each: T) => string): T[] {
  const known = new Set(those.map(key))
  return these.filter(each => !known.has(key(each)))
}
