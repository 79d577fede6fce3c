/** The x-wing and the rebel base on the nodes of a world: a Service in both clusters, an HTTP server in each pod that backs it. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { stringify } from 'yaml'
import { Agent } from './agent.ts'
import type { NodeMachine, UnderlayWorld } from './machines.ts'
import { serve } from './traffic.ts'

export const clusterIps: Readonly<Record<string, string>> = { 'cluster-1': '10.101.0.10', 'cluster-2': '10.102.0.10' }

export interface StoryOptions {
  readonly mode: 'vxlan' | 'direct' | 'wireguard'
  /** More of the section `underlay`. */
  readonly underlay?: object
}

export class Story {
  readonly world: UnderlayWorld
  readonly #options: StoryOptions
  readonly #state: string

  constructor(t: Test, world: UnderlayWorld, options: StoryOptions) {
    // The path of a unix socket, which a successor asks, has 107 bytes at most.
    this.#state = mkdtempSync(join(tmpdir(), 'story-'))
    t.teardown(() => rmSync(this.#state, { recursive: true }))
    this.world = world
    this.#options = options
  }

  /** Servers that say the name of their node, in all pods. */
  async serve(t: Test): Promise<void> {
    await Promise.all(this.world.nodes.map(async ({ pod, name }) => t.teardown(await serve(pod, name))))
  }

  /** The Service of both clusters, with the pods of these nodes. */
  write(backing: readonly NodeMachine[] = this.world.nodes): void {
    for (const [cluster, clusterIP] of Object.entries(clusterIps)) {
      const endpoints = backing
        .filter(node => node.cluster === cluster)
        .map(({ name, podAddresses: [address] }) => ({
          addresses: [address],
          conditions: { ready: true, serving: true, terminating: false },
          nodeName: name,
          targetRef: { kind: 'Pod', namespace: 'default', name: `rebel-base-${name}` },
        }))
      const service = {
        ...{ apiVersion: 'v1', kind: 'Service' },
        metadata: {
          ...{ name: 'rebel-base', namespace: 'default' },
          annotations: { 'service.cilium.io/global': 'true' },
        },
        spec: { type: 'ClusterIP', clusterIP, ports: [{ name: 'http', port: 80, targetPort: 8080 }] },
      }
      const slice = {
        ...{ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', addressType: 'IPv4' },
        metadata: {
          ...{ name: 'rebel-base-1', namespace: 'default' },
          labels: { 'kubernetes.io/service-name': 'rebel-base' },
        },
        endpoints,
        ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
      }
      const list = { apiVersion: 'v1', kind: 'List', items: [service, slice] }
      writeFileSync(join(this.world.folder, cluster, 'rebel-base.yaml'), stringify(list))
    }
  }

  /** `starlane run` on a node, with DNS on its address in the pod network. */
  run(t: Test, node: NodeMachine): Agent {
    const { world } = this
    const { mode, underlay } = this.#options
    const state = join(this.#state, node.name)
    const config = {
      cluster: node.cluster,
      clusters: Object.keys(clusterIps).map((name, i) => ({
        ...{ name, id: i + 1, source: { manifests: `./${name}` } },
        ...(name === node.cluster ? {} : { route: 'underlay' }),
      })),
      dns: { listen: `${resolverOf(node)}:53` },
      proxy: { anyip: true },
      health: { active: { interval: '300ms', timeout: '300ms', rise: 1, fall: 2 } },
      // No CNI joins the nodes of a cluster here.
      underlay: { mode, within: true, ...underlay },
      admin: { listen: '127.0.0.1:9911' },
      location: { node: node.name },
      state,
    }
    const file = join(world.folder, `run-${node.name}.yaml`)
    writeFileSync(file, stringify(config))
    return new Agent(t, world, node, ['run', '-c', file])
  }
}

/** The gateway of the pods on a node. */
export function resolverOf({ podAddresses: [address] }: NodeMachine): string {
  return address.replace(/\d+$/, '1')
}

/** What the service answers to a pod that looks it up by the DNS of its node: names of nodes. */
export async function answers(node: NodeMachine, count: number): Promise<Set<string>> {
  const name = 'rebel-base.default.svc.cluster.local'
  const found = await node.pod.do(`dig +short +time=2 @${resolverOf(node)} ${name} A`)
  const address = found.trim()
  if (address !== clusterIps[node.cluster]) throw new Error(`${name} is at ${JSON.stringify(address)}`)
  const said = await node.pod.do(`for i in $(seq ${count}); do curl -sS --max-time 5 http://${address}/; echo; done`)
  return new Set(said.split('\n').flatMap(line => line.split(' ')[0] || []))
}
