/** The fields of the underlay: how the pods of this node reach those of nodes of other clusters. */
import { bad, boolean, type Field, type Fields, field, integer, oneOf, optional, scalar, shown } from './fields.ts'
import { path, type Resolve } from './kinds.ts'

/** `resolve`: paths are relative to the configuration. */
export function underlayFields(resolve: Resolve) {
  return {
    mode: oneOf(
      'How pods are joined: `none`; `vxlan`, packets to pods of other clusters go inside of packets from node to node; `geneve`, the same by Geneve, where the kernel has it; `direct`, routes by the addresses of nodes that are on one link; `wireguard`, like `vxlan` but encrypted. `starlane underlay` takes `vxlan` where it is `none`.',
      ['none', 'vxlan', 'geneve', 'direct', 'wireguard'],
      'none',
    ),
    device: deviceName('The name of the device of `vxlan`, `geneve` or `wireguard`.', 'starlane-vx'),
    vni: integer(
      'The network identifier of `vxlan` or `geneve`, the same in all clusters.',
      { min: 1, max: 0xff_ffff },
      7171,
    ),
    port: optional(
      integer(
        'The UDP port, the same in all clusters. By default 4789, where Cilium and flannel use 8472, with `geneve` 6181, where Cilium uses 6081, and with `wireguard` 51840, where CNIs use 51820, 51821 and 51871.',
        { min: 1, max: 65_535 },
      ),
    ),
    mtu: optional(
      integer(
        'The MTU of the device, where the network between nodes takes less than their links. By default that of the link less 50 bytes, 70 between IPv6 addresses; with `wireguard` 60 and 80.',
        { min: 1280, max: 65_535 },
      ),
    ),
    within: boolean(
      'Whether also the nodes of the local cluster are joined among themselves, which is otherwise left to the CNI.',
      false,
    ),
    masquerade: boolean(
      'Whether pods of this node get its address towards networks outside of all clusters, and keep theirs inside, whatever the CNI does. Needs nft.',
      false,
    ),
    key: optional(
      path(
        'Where the private key of `wireguard` is kept; it is made there. By default `wireguard.key` in the folder of `state`, or in /var/lib/starlane.',
        resolve,
      ),
    ),
    program: optional(
      path(
        'What carries WireGuard where the kernel does not: a program that takes the name of the device, as wireguard-go and boringtun-cli do. By default one of these on the PATH.',
        resolve,
      ),
    ),
  } satisfies Fields
}

/** What the kernel takes (`dev_valid_name`), without what iproute2 would read as an option or a keyword. */
function deviceName(help: string, byDefault: string): Field<string> {
  return field('name', help, byDefault, value => {
    const written = scalar(value)
    return /^[a-z][a-z0-9._-]{0,14}$/i.test(written)
      ? written
      : bad(`${shown(value)} is not a name of a device; use up to 15 letters, digits, dots and hyphens`)
  })
}
