/**
 * The pods of a demo cluster: a small kubelet and EndpointSlice controller. A Deployment in the demo's manifests becomes
 * processes on loopback addresses, and an EndpointSlice lists them. Starlane reads only the manifests.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseAllDocuments, stringify } from 'yaml'
import { MeshError } from '../../model/error.ts'
import { ownCommand } from '../../model/program/package-files.ts'

export interface DemoCluster {
  readonly name: string
  /** The folder of its manifests. */
  readonly folder: string
  /** The prefix of the pods' addresses: `127.2.0.` */
  readonly network: string
}

interface Pod {
  readonly name: string
  readonly ip: string
  readonly process: ChildProcess
  state: 'starting' | 'ready' | 'terminating'
}

export const podPort = 8080
/** Between not ready in the EndpointSlice and SIGTERM, as with a preStop sleep in a real cluster. */
const graceMs = 1000

/** The pods of one cluster's rebel-base. */
export class Pods {
  readonly cluster: DemoCluster
  #pods = new Map<number, Pod>()
  #wanted = 0
  #working: Promise<void> = Promise.resolve()
  /** The reconciliation in progress, or the last one. */
  #reconciling: Promise<void> = Promise.resolve()
  #closed = false
  #killed = false

  constructor(cluster: DemoCluster) {
    this.cluster = cluster
  }

  get ready(): number {
    return [...this.#pods.values()].filter(pod => pod.state === 'ready').length
  }

  get wanted(): number {
    return this.#wanted
  }

  /** Follows `spec.replicas` of the Deployment until closed. Resolves when the first pods are ready. */
  async start(): Promise<void> {
    await this.#reconcile()
    this.#working = this.#follow()
  }

  /** Kills one ready pod with SIGKILL, and leaves it ready in the EndpointSlice. Resolves when the process has exited. */
  async kill(): Promise<{ readonly name: string; readonly ip: string }> {
    this.#killed = true
    // One in progress would notice the exit, and restart the pod.
    await this.#reconciling
    const pod = [...this.#pods.values()].find(pod => pod.state === 'ready')
    if (!pod) throw new Error(`${this.cluster.name} has no ready pod to kill`)
    await new Promise<void>(resolve => {
      pod.process.once('exit', () => resolve())
      pod.process.kill('SIGKILL')
    })
    return pod
  }

  /** After `kill`: lets the next reconciliation restart the pod, as kubelet does. */
  restart(): void {
    this.#killed = false
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#working
    await Promise.all([...this.#pods.values()].map(pod => stopped(pod.process, 'SIGKILL')))
  }

  async #follow(): Promise<void> {
    while (!this.#closed) {
      await sleep(100)
      if (this.#killed || this.#closed) continue
      this.#reconciling = this.#reconcile()
      await this.#reconciling
    }
  }

  async #reconcile(): Promise<void> {
    const deployment = await readDeployment(this.cluster.folder)
    if (!deployment) return
    this.#wanted = deployment.replicas
    const surplus = [...this.#pods].filter(
      ([index, pod]) => index >= this.#wanted || pod.process.exitCode !== null || pod.process.signalCode !== null,
    )
    const missing = Array.from({ length: this.#wanted }, (_, i) => i).filter(
      i => !this.#pods.has(i) || surplus.some(([index]) => index === i),
    )
    if (surplus.length === 0 && missing.length === 0) return
    await this.#remove(surplus)
    await this.#add(missing, deployment.message)
  }

  async #remove(pods: [number, Pod][]): Promise<void> {
    if (pods.length === 0) return
    for (const [, pod] of pods) pod.state = 'terminating'
    await this.#publish()
    await sleep(graceMs)
    await Promise.all(pods.map(([, pod]) => stopped(pod.process, 'SIGTERM')))
    for (const [index] of pods) this.#pods.delete(index)
    await this.#publish()
  }

  async #add(indexes: number[], message: string): Promise<void> {
    if (indexes.length === 0) return
    await Promise.all(
      indexes.map(async index => {
        const name = `rebel-base-${this.cluster.name}-${index}`
        const ip = `${this.cluster.network}${11 + index}`
        const pod: Pod = { name, ip, state: 'starting', process: startPod(name, ip, message) }
        this.#pods.set(index, pod)
        await listening(pod.process, name)
        pod.state = 'ready'
      }),
    )
    await this.#publish()
  }

  async #publish(): Promise<void> {
    const file = join(this.cluster.folder, 'endpointslice.yaml')
    await writeFile(`${file}.tmp`, stringify(sliceOf(this.cluster, [...this.#pods.values()])))
    await rename(`${file}.tmp`, file)
  }
}

/** Writes `spec.replicas` of the Deployment, as `kubectl scale` would. */
export async function scaleDeployment(folder: string, replicas: number): Promise<void> {
  const file = deploymentFile(folder)
  const documents = parseAllDocuments(await readFile(file, 'utf8'))
  for (const document of documents) {
    if ('get' in document && document.get('kind') === 'Deployment') document.setIn(['spec', 'replicas'], replicas)
  }
  await writeFile(`${file}.tmp`, documents.map(String).join(''))
  await rename(`${file}.tmp`, file)
}

export function deploymentFile(folder: string): string {
  return join(folder, 'rebel-base.yaml')
}

async function readDeployment(folder: string): Promise<{ replicas: number; message: string } | undefined> {
  const documents = parseAllDocuments(await readFile(deploymentFile(folder), 'utf8'))
  for (const document of documents) {
    if (!('get' in document) || document.errors.length > 0 || document.get('kind') !== 'Deployment') continue
    const replicas = Number(document.getIn(['spec', 'replicas']))
    const message = String(document.getIn(['spec', 'template', 'spec', 'containers', 0, 'env', 0, 'value']))
    if (Number.isInteger(replicas) && replicas >= 0) return { replicas, message }
  }
  return undefined
}

function startPod(name: string, ip: string, message: string): ChildProcess {
  const [program, ...args] = ownCommand(['demo', 'pod'])
  return spawn(program, args, {
    env: { ...process.env, POD_NAME: name, POD_IP: ip, POD_PORT: String(podPort), MESSAGE: message },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
}

function listening(child: ChildProcess, name: string): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('message', said => {
      if (said === 'ready') resolve()
      else reject(new MeshError('LISTEN', `${name} cannot listen: ${said}`))
    })
    child.once('exit', code => reject(new MeshError('LISTEN', `${name} exited with ${code} before it listened`)))
  })
}

function stopped(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve()
  return new Promise(resolve => {
    child.once('exit', () => resolve())
    child.kill(signal)
  })
}

function sliceOf({ name, network }: DemoCluster, pods: readonly Pod[]): object {
  const node = `node-${network.split('.')[1]}`
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: `rebel-base-${name}`,
      namespace: 'default',
      labels: { 'kubernetes.io/service-name': 'rebel-base' },
    },
    addressType: 'IPv4',
    ports: [{ name: 'http', protocol: 'TCP', port: podPort }],
    endpoints: pods
      .filter(pod => pod.state !== 'starting')
      .map(pod => ({
        addresses: [pod.ip],
        conditions: { ready: pod.state === 'ready', serving: true, terminating: pod.state === 'terminating' },
        nodeName: node,
        targetRef: { kind: 'Pod', namespace: 'default', name: pod.name },
      })),
  }
}
