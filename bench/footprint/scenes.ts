// What a process is started with, and does, before its memory is read.
import { execFile, execFileSync, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { oneService } from '../../scripts/release/one-service.ts'

export interface Scene {
  readonly name: string
  readonly config: string
  /** Most resident memory in MiB, and time until it is ready, that meet the goals. */
  readonly goals?: { readonly residentMiB: number; readonly readyMs?: number }
  /** At most; a long one is measured less often. */
  readonly rounds?: number
  /** Done once it is ready; `admin` is the address of its admin server. */
  readonly load?: (admin: string) => Promise<void>
}

export interface Scenes {
  readonly all: readonly Scene[]
  close(): void
}

interface Size {
  readonly services: number
  /** Of each service. */
  readonly endpoints: number
}

const head = `cluster: one
dns: { listen: 127.0.0.1:0 }
admin: { listen: 127.0.0.1:0 }
proxy: { vips: { cidr: 127.96.0.0/16 } }
`
const backend = ['127.0.77.1', '8080'] as const
const small: Size = { services: 1, endpoints: 1 }
const large: Size = { services: 5000, endpoints: 10 }

/** Two clusters with one global service, on addresses of the loopback interface and ports of the kernel's choice. */
export function manifestScene(folder: string): Scene {
  const files = ['one', 'two'].map((cluster, i) => {
    const [address, port] = i === 0 ? backend : ['127.0.77.2', backend[1]]
    const service = oneService({ port: 80, backend: { address, port: Number(port) } })
    writeFileSync(join(folder, `${cluster}.yaml`), service)
    return `  - { name: ${cluster}, id: ${i + 1}, source: { manifests: ./${cluster}.yaml } }\n`
  })
  const config = join(folder, 'starlane.yaml')
  writeFileSync(config, `${head}clusters:\n${files.join('')}`)
  return { name: 'manifests, idle', config, goals: { residentMiB: 60, readyMs: 250 } }
}

/**
 * The mesh of `manifestScene` idle and after `connections` connections, and API servers of one cluster with one service and with
 * 5,000 services and 50,000 endpoints. The API servers are the small ones of the tests, in processes of their own.
 */
export async function scenes(folder: string, connections: number): Promise<Scenes> {
  const manifests = manifestScene(folder)
  const program = join(folder, 'connects')
  execFileSync('cc', ['-O2', '-o', program, fileURLToPath(new URL('../load/connects.c', import.meta.url))])
  const server = spawn(program, ['serve', ...backend], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(server.stdout, 'data')
  const apis = await Promise.all([small, large].map(size => apiServer(folder, size)))
  const name = `manifests, after ${connections.toLocaleString('en')} connections`
  const [few, many] = apis
  return {
    all: [
      manifests,
      {
        ...{ name, config: manifests.config, goals: { residentMiB: 95 }, rounds: 1 },
        load: admin => connect(program, admin, connections),
      },
      { name: 'Kubernetes, idle', config: few?.config ?? '', goals: { residentMiB: 75, readyMs: 250 } },
      {
        name: 'Kubernetes, 5,000 services with 50,000 endpoints',
        config: many?.config ?? '',
        goals: { residentMiB: 250 },
      },
    ],
    close: () => {
      server.kill()
      for (const { stop } of apis) stop()
    },
  }
}

async function apiServer(folder: string, size: Size): Promise<{ config: string; stop: () => void }> {
  const child = fork(new URL('../../test/support/kube-api/load.ts', import.meta.url))
  child.send({ fill: { clusters: 1, ...size } })
  const [{ urls }] = (await once(child, 'message')) as [{ urls: string[] }]
  const here = join(folder, `kubernetes-${size.services}`)
  mkdirSync(here)
  const kubeconfig = {
    'current-context': 'one',
    clusters: [{ name: 'one', cluster: { server: urls[0] } }],
    contexts: [{ name: 'one', context: { cluster: 'one' } }],
  }
  writeFileSync(join(here, 'kubeconfig'), JSON.stringify(kubeconfig))
  const config = join(here, 'starlane.yaml')
  writeFileSync(
    config,
    `${head}clusters: [{ name: one, id: 1, source: { kubernetes: { kubeconfig: ./kubeconfig } } }]\n`,
  )
  return { config, stop: () => child.kill() }
}

/** Each connection sends a request and gets its answer. Two clients, one connection at a time each. */
async function connect(program: string, admin: string, connections: number): Promise<void> {
  const answer = (await (await fetch(`http://${admin}/v1/services`)).text()).match(/127\.96\.\d+\.\d+/)
  if (!answer) throw new Error('the service has no frontend')
  for (let made = 0; made < connections; ) {
    const results = await Promise.all(
      ['1', '2'].map(() => promisify(execFile)(program, ['short', '5000', answer[0], '80'])),
    )
    for (const { stdout } of results) made += Number(stdout.trim().split(' ').at(-1))
  }
}
