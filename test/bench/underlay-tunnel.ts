/** The gateway tunnel between two nodes of a world, for `npm run bench:underlay`: `starlane run` on one, `starlane gateway` on the other. */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { stringify } from 'yaml'
import { starlaneId } from '../../proxy/model/tunnel/identity.ts'
import { createAuthority, issue } from '../../proxy/runtime/tunnel/issuing.ts'
import { Agent } from '../support/underlay/agent.ts'
import type { NodeMachine, UnderlayWorld } from '../support/underlay/machines.ts'

export interface Tunnel {
  /** Where pods of the first node reach those ports of the pod of the other. */
  readonly address: string
  /** CPU time of both processes so far, in seconds. */
  seconds(): number
  stop(): Promise<void>
}

const address = '10.101.0.20'

export async function joinByTunnel(
  scope: Test,
  world: UnderlayWorld,
  [near, far]: readonly [NodeMachine, NodeMachine],
  ports: readonly number[],
): Promise<Tunnel> {
  const folder = join(world.folder, 'tunnel')
  const certificates = await certificatesIn(folder)
  writeObjects(join(folder, near.cluster), { address, ports, pods: [] })
  writeObjects(join(folder, far.cluster), { address: '10.102.0.20', ports, pods: [far.podAddresses[0]] })
  const gateway = `${far.addresses[0]}:15008`
  const write = (node: NodeMachine, more: object) => {
    const file = join(folder, `${node.name}.yaml`)
    const clusters = [near, far].map(({ cluster }, i) => ({
      ...{ name: cluster, id: i + 1, source: { manifests: `./${cluster}` } },
      ...(node === near && cluster === far.cluster ? { route: 'tunnel', gateways: [gateway] } : {}),
    }))
    // iperf3 takes each connection for a client.
    writeFileSync(file, stringify({ cluster: node.cluster, clusters, health: { active: { type: 'none' } }, ...more }))
    return file
  }
  const agents = [
    new Agent(scope, world, far, [
      ...['gateway', '-c'],
      write(far, { gateway: { listen: gateway, certificates: certificates.gateway } }),
    ]),
    new Agent(scope, world, near, [
      ...['run', '-c'],
      write(near, {
        dns: { listen: '127.0.0.1:5353' },
        proxy: { anyip: true },
        tunnel: { certificates: certificates.client },
      }),
    ]),
  ]
  await Promise.all(agents.map(agent => agent.says(/"event":"ready"/)))
  return {
    address,
    seconds: () => agents.reduce((sum, { child }) => sum + secondsOf(child.pid ?? 0), 0),
    stop: async () => {
      await Promise.all(agents.map(agent => agent.stop()))
    },
  }
}

/** CPU time of a process, in seconds (proc(5): clock ticks of 10 ms, in user mode and in the kernel); 0 for one that has ended. */
export function secondsOf(pid: number | string): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  if (fields[0] === 'Z') return 0
  return (Number(fields[11]) + Number(fields[12])) / 100
}

async function certificatesIn(folder: string): Promise<{ readonly client: string; readonly gateway: string }> {
  const made = { client: join(folder, 'client'), gateway: join(folder, 'gateway') }
  for (const each of [folder, ...Object.values(made)]) mkdirSync(each)
  const authority = await createAuthority({ file: join(folder, 'ca'), name: 'bench', days: 1 })
  for (const [to, cluster, role] of [
    [made.client, 'cluster-1', 'proxy'],
    [made.gateway, 'cluster-2', 'gateway'],
  ] as const) {
    await issue(authority, {
      file: join(to, 'tls'),
      name: 'bench',
      days: 1,
      id: starlaneId('bench.mesh', cluster, role),
    })
    copyFileSync(`${authority.file}.crt`, join(to, 'ca.crt'))
  }
  return made
}

interface Objects {
  readonly address: string
  readonly ports: readonly number[]
  readonly pods: readonly string[]
}

function writeObjects(folder: string, { address, ports, pods }: Objects): void {
  mkdirSync(folder)
  const metadata = { name: 'bench', namespace: 'default' }
  const named = ports.map(port => ({ name: `p${port}`, port, protocol: 'TCP' }))
  const items = [
    {
      ...{ apiVersion: 'v1', kind: 'Service' },
      metadata: { ...metadata, annotations: { 'service.cilium.io/global': 'true' } },
      spec: { type: 'ClusterIP', clusterIP: address, ports: named },
    },
    {
      ...{ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', addressType: 'IPv4' },
      metadata: { ...metadata, labels: { 'kubernetes.io/service-name': 'bench' } },
      endpoints: pods.map(pod => ({ addresses: [pod], conditions: { ready: true } })),
      ports: named,
    },
  ]
  writeFileSync(join(folder, 'bench.yaml'), stringify({ apiVersion: 'v1', kind: 'List', items }))
}
