/** A configuration for FRR (frr.conf) that does what mode direct does, by BGP between the nodes. */
import { type Family, familyOf, parseCidr } from '../../model/address.ts'
import { MeshError } from '../../model/error.ts'
import { nodeText, type UnderlayNode } from '../node.ts'
import { autonomousSystem, comment } from './bird.ts'

/** `nodes`: those that it exchanges routes with. Throws UNDERLAY as `birdConfig` does. */
export function frrConfig(nodes: readonly UnderlayNode[], own: UnderlayNode): string {
  const id = own.addresses.find(address => familyOf(address) === 4)
  if (id === undefined)
    throw new MeshError('UNDERLAY', `node ${nodeText(own)} has no IPv4 address, which FRR needs as router id`)
  const networks = own.podCidrs.flatMap(text => parseCidr(text) ?? [])
  const families = ([4, 6] as const).filter(family => own.addresses.some(address => familyOf(address) === family))
  const peersOf = (family: Family) =>
    nodes.flatMap(node => {
      const address = node.addresses.find(each => familyOf(each) === family)
      return address === undefined ? [] : { address, text: nodeText(node) }
    })
  return [
    `! For node ${comment(nodeText(own))}. Made by starlane underlay --print frr.`,
    `router bgp ${autonomousSystem}`,
    ` bgp router-id ${id}`,
    ' no bgp default ipv4-unicast',
    // The networks of this node are announced whether its routing table has them or not.
    ' no bgp network import-check',
    ...families.flatMap(family =>
      peersOf(family).flatMap(({ address, text }) => [
        ` ! ${comment(text)}`,
        ` neighbor ${address} remote-as ${autonomousSystem}`,
      ]),
    ),
    ...families.flatMap(family => [
      ` address-family ipv${family} unicast`,
      ...networks.filter(network => network.family === family).map(({ text }) => `  network ${text}`),
      ...peersOf(family).flatMap(({ address }) => [
        `  neighbor ${address} activate`,
        `  neighbor ${address} next-hop-self`,
      ]),
      ' exit-address-family',
    ]),
    'exit',
    '',
  ].join('\n')
}
