/** Two clusters of nodes with pods in network namespaces: what an underlay joins. The network between the nodes routes no pod network. */
import { spawn, spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { stringify } from 'yaml'
import { Lines, run } from '../../e2e/applications/support/processes.ts'

/** Why there can be no underlay here. */
export function whyNoUnderlay(...programs: string[]): string | false {
  const missing = ['ip', 'bridge', 'nsenter', ...programs].find(name => spawnSync(name, ['--version']).error)
  if (missing) return `there is no ${missing}`
  const probe = 'ip link add vx type vxlan id 1 dstport 4789 && ip link add near type veth peer name far'
  const { status } = spawnSync('unshare', ['--net', 'sh', '-c', probe])
  return status === 0 ? false : 'no network namespaces with a vxlan device are allowed here'
}

/** A network namespace, held by a process. */
export class Machine {
  readonly name: string
  readonly #holder: Lines

  private constructor(name: string, holder: Lines) {
    this.name = name
    this.#holder = holder
  }

  static async start(t: Test, name: string): Promise<Machine> {
    // Node's resolver and programs of the test need no files of their own: the mounts are shared.
    const holder = new Lines(['unshare', '--net', 'sh', '-c', 'ip link set lo up && echo ready && exec sleep infinity'])
    t.teardown(() => holder.kill())
    await holder.hear(/^ready$/)
    return new Machine(name, holder)
  }

  get pid(): string {
    return `${this.#holder.child.pid}`
  }

  /** Before a command: it runs here. */
  get prefix(): string[] {
    return ['nsenter', '-t', this.pid, '-n', '--']
  }

  /** What the script prints. Rejects if it fails. */
  do(script: string): Promise<string> {
    return run([...this.prefix, 'sh', '-ec', script])
  }

  start(command: readonly string[], env: NodeJS.ProcessEnv = process.env) {
    const [first = '', ...rest] = [...this.prefix, ...command]
    return spawn(first, rest, { stdio: ['pipe', 'pipe', 'pipe'], env })
  }
}

export interface NodeMachine {
  readonly cluster: string
  readonly name: string
  readonly machine: Machine
  readonly pod: Machine
  /** Of the node, IPv4 and IPv6. */
  readonly addresses: readonly [string, string]
  readonly networks: readonly [string, string]
  readonly podAddresses: readonly [string, string]
  /** Its WireGuard key, once it has one. */
  key?: string
}

export interface WorldOptions {
  /** Of the links between nodes; 1500 by default. */
  readonly mtu?: number
  /** The clusters are on links of their own, with a router between them. */
  readonly routed?: boolean
  readonly nodesPerCluster?: number
}

/** `cluster-1` with `a1`, `a2`, and `cluster-2` with `b1`, `b2`. */
export class UnderlayWorld {
  /** The switch, or the router. */
  readonly wire: Machine
  readonly nodes: NodeMachine[] = []
  readonly #t: Test
  readonly #options: WorldOptions
  readonly folder: string

  private constructor(t: Test, wire: Machine, folder: string, options: WorldOptions) {
    this.#t = t
    this.wire = wire
    this.folder = folder
    this.#options = options
  }

  static async start(t: Test, options: WorldOptions = {}): Promise<UnderlayWorld> {
    const { mtu = 1500, routed = false, nodesPerCluster = 2 } = options
    const wire = await Machine.start(t, 'wire')
    const links = routed ? [1, 2] : [1]
    await wire.do(
      [
        ...links.flatMap(link => [
          `ip link add link${link} type bridge`,
          `ip link set link${link} mtu ${mtu} up`,
          ...(routed
            ? [
                `ip addr add 192.0.${link}.254/24 dev link${link}`,
                `ip addr add fd00:c0:${link}::fe/64 dev link${link} nodad`,
              ]
            : []),
        ]),
        ...(routed ? ['sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1'] : []),
      ].join('\n'),
    )
    const folder = t.testdir({ 'cluster-1': {}, 'cluster-2': {} })
    const world = new UnderlayWorld(t, wire, folder, options)
    await Promise.all(
      [1, 2].flatMap(cluster => Array.from({ length: nodesPerCluster }, (_, i) => world.add(cluster as 1 | 2, i + 1))),
    )
    world.nodes.sort((a, b) => (a.name < b.name ? -1 : 1))
    world.write()
    return world
  }

  node(name: string): NodeMachine {
    const found = this.nodes.find(node => node.name === name)
    if (!found) throw new Error(`there is no node ${name}`)
    return found
  }

  /** Not in the list of nodes before `write`. */
  async add(cluster: 1 | 2, number: number): Promise<NodeMachine> {
    const { mtu = 1500, routed = false } = this.#options
    const name = `${'xab'[cluster]}${number}`
    const machine = await Machine.start(this.#t, name)
    const pod = await Machine.start(this.#t, `pod of ${name}`)
    const link = routed ? cluster : 1
    const host = cluster * 10 + number
    const node: NodeMachine = {
      cluster: `cluster-${cluster}`,
      ...{ name, machine, pod },
      addresses: [`192.0.${link}.${host}`, `fd00:c0:${link}::${host}`],
      networks: [`10.${cluster}.${number}.0/24`, `fd00:${cluster}:${number}::/64`],
      podAddresses: [`10.${cluster}.${number}.2`, `fd00:${cluster}:${number}::2`],
    }
    await this.wire.do(`
      ip link add ${name} mtu ${mtu} type veth peer name eth0 mtu ${mtu} netns ${machine.pid}
      ip link set ${name} master link${link} up`)
    await machine.do(`
      ip addr add ${node.addresses[0]}/24 dev eth0; ip addr add ${node.addresses[1]}/64 dev eth0 nodad
      ip link set eth0 up
      ${routed ? `ip route add default via 192.0.${link}.254; ip route add default via fd00:c0:${link}::fe` : ''}
      sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
      ip link add pods type bridge
      ip addr add 10.${cluster}.${number}.1/24 dev pods; ip addr add fd00:${cluster}:${number}::1/64 dev pods nodad
      ip link set pods mtu ${mtu} up
      ip link add pod1 mtu ${mtu} type veth peer name eth0 mtu ${mtu} netns ${pod.pid}
      ip link set pod1 master pods up`)
    await pod.do(`
      ip addr add ${node.podAddresses[0]}/24 dev eth0; ip addr add ${node.podAddresses[1]}/64 dev eth0 nodad
      ip link set eth0 up
      ip route add default via 10.${cluster}.${number}.1; ip route add default via fd00:${cluster}:${number}::1`)
    this.nodes.push(node)
    return node
  }

  /** Writes the Nodes of both clusters as manifests, and a configuration for each cluster; `change` may change a Node. */
  write(nodes: readonly NodeMachine[] = this.nodes, more: object = {}): void {
    const clusters = ['cluster-1', 'cluster-2']
    for (const cluster of clusters) {
      const objects = nodes.filter(node => node.cluster === cluster).map(nodeObject)
      const list = { apiVersion: 'v1', kind: 'List', items: objects }
      writeFileSync(join(this.folder, cluster, 'nodes.yaml'), stringify(list))
      const config = {
        cluster,
        clusters: clusters.map((name, i) => ({ name, id: i + 1, source: { manifests: `./${name}` } })),
        ...more,
      }
      writeFileSync(join(this.folder, `${cluster}.yaml`), stringify(config))
    }
  }
}

function nodeObject({ name, addresses, networks }: NodeMachine): object {
  return {
    ...{ apiVersion: 'v1', kind: 'Node', metadata: { name } },
    spec: { podCIDR: networks[0], podCIDRs: networks },
    status: {
      addresses: [...addresses.map(address => ({ type: 'InternalIP', address })), { type: 'Hostname', address: name }],
    },
  }
}
