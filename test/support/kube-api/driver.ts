/** Driver of the source conformance suite for an API server, the test one or a real one; uses nothing but its API. */
import { mkdtempSync, rmSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { KubernetesClient } from '../../../proxy/clients/kubernetes/client.ts'
import { createKubernetesClient } from '../../../proxy/clients/kubernetes/connect.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import type { Sink } from '../../../proxy/model/sink.ts'
import type { Clock } from '../../../proxy/model/time/clock.ts'
import { createKubernetesSource } from '../../../proxy/sources/kubernetes/kubernetes-source.ts'
import type { Source } from '../../../proxy/sources/source.ts'
import type { Declared, SourceDriver } from '../../conformance/source.ts'
import { namespaceOf, serviceOf, sliceOf } from './declared.ts'
import { type Entry, writeKubeconfig } from './kubeconfig.ts'
import type { KubeObject } from './types.ts'

const signal = new AbortController().signal

/** The source connects through a relay, so that its connection can be cut without the server taking part. */
export async function openDriver(t: Test, entry: Entry, clock: Clock): Promise<SourceDriver> {
  const folder = mkdtempSync(join(tmpdir(), 'starlane-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const relay = new Relay(new URL(entry.server))
  await relay.open()
  t.teardown(() => relay.cut())
  const login = (file: string, server: string) => {
    writeKubeconfig(join(folder, file), [{ ...entry, server }])
    return { kubeconfig: join(folder, file) }
  }
  const world = { clock, random: Math.random, log: silentLog, env: {} }
  const client = createKubernetesClient(login('direct', entry.server), world)
  t.teardown(() => client.close())
  await clear(client)
  const source = createKubernetesSource({ cluster: 'cluster-1', ...login('relayed', relay.url) }, world)
  return {
    source: withoutOwn(source),
    apply: async (...services) => {
      for (const service of services) {
        await apply(client, namespaceOf(service.namespace))
        await apply(client, sliceOf(service))
      }
      // Each resource has a watch of its own and their order is undefined; the suite expects a single change.
      await new Promise(resolve => setTimeout(resolve, 50))
      for (const service of services) await apply(client, serviceOf(service))
    },
    remove: async service => {
      for (const object of [serviceOf(service), sliceOf(service)])
        await client.json({ method: 'DELETE', path: pathOf(object) }, signal)
    },
    // A server accepts an EndpointSlice of no service; the mesh ignores it.
    spoil: async service => {
      const slice = sliceOf(service)
      await apply(client, { ...slice, metadata: { ...slice.metadata, labels: {} } })
    },
    break: () => relay.cut(),
    heal: () => relay.open(),
  }
}

/** Hides default/kubernetes, the Service that a real server always restores. */
function withoutOwn(source: Source): Source {
  const isOwn = ({ namespace, name }: Pick<Declared, 'namespace' | 'name'>) =>
    namespace === 'default' && name === 'kubernetes'
  return {
    start: (sink: Sink) =>
      source.start({
        reset: ({ services, ...rest }) => sink.reset({ services: services.filter(each => !isOwn(each)), ...rest }),
        put: service => isOwn(service) || sink.put(service),
        drop: (namespace, name) => isOwn({ namespace, name }) || sink.drop(namespace, name),
        putNamespace: namespace => sink.putNamespace(namespace),
        dropNamespace: name => sink.dropNamespace(name),
        putPod: pod => sink.putPod(pod),
        dropPod: (namespace, name) => sink.dropPod(namespace, name),
        live: () => sink.live(),
        lost: error => sink.lost(error),
        problems: problems => sink.problems(problems),
      }),
    close: () => source.close(),
  }
}

async function clear(client: KubernetesClient): Promise<void> {
  for (const path of ['/api/v1/services', '/apis/discovery.k8s.io/v1/endpointslices']) {
    const { items } = (await client.json({ path }, signal)) as { items: KubeObject[] }
    for (const { metadata } of items) {
      if (metadata.name === 'kubernetes') continue
      await client.json({ method: 'DELETE', path: inNamespace(path, metadata) }, signal)
    }
  }
}

async function apply(client: KubernetesClient, object: KubeObject): Promise<void> {
  const query = { fieldManager: 'test', force: 'true' }
  const body = { type: 'application/apply-patch+yaml', value: object }
  await client.json({ method: 'PATCH', path: pathOf(object), query, body }, signal)
}

function pathOf({ kind, metadata }: KubeObject): string {
  if (kind === 'Namespace') return `/api/v1/namespaces/${metadata.name}`
  return inNamespace(kind === 'Service' ? '/api/v1/services' : '/apis/discovery.k8s.io/v1/endpointslices', metadata)
}

function inNamespace(path: string, { namespace, name }: KubeObject['metadata']): string {
  const at = path.lastIndexOf('/')
  return `${path.slice(0, at)}/namespaces/${namespace}${path.slice(at)}/${name}`
}

/** Passes bytes on, at one port for as long as it lives. */
class Relay {
  readonly #target: URL
  readonly #sockets = new Set<Socket>()
  #server: Server | undefined
  #port = 0

  constructor(target: URL) {
    this.#target = target
  }

  get url(): string {
    return `${this.#target.protocol}//127.0.0.1:${this.#port}`
  }

  async open(): Promise<void> {
    const server = createServer(client => this.#join(client, connect(Number(this.#target.port), this.#target.hostname)))
    await new Promise<void>(resolve => server.listen(this.#port, '127.0.0.1', resolve))
    this.#port = (server.address() as AddressInfo).port
    this.#server = server
  }

  async cut(): Promise<void> {
    const server = this.#server
    this.#server = undefined
    for (const socket of this.#sockets) socket.destroy()
    if (server) await new Promise(resolve => server.close(resolve))
  }

  #join(...ends: [Socket, Socket]): void {
    const [client, upstream] = ends
    client.pipe(upstream).pipe(client)
    for (const socket of ends) {
      this.#sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        this.#sockets.delete(socket)
        for (const end of ends) end.destroy()
      })
    }
  }
}
