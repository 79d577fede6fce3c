/** A whole Starlane for a script in a network namespace of its own, with one TCP and one UDP service and their backends. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtemp, rename, writeFile } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig } from '../../../proxy/config/load.ts'
import { takeLock } from '../../../proxy/dataplane/netns-lock.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { createRuntime, type Runtime } from '../../../proxy/runtime.ts'
import { eventually } from '../eventually.ts'
import { manifests } from '../world.ts'

const backend = '127.1.0.1'

export type Parts = Awaited<ReturnType<typeof parts>>

export async function parts(proxy: { readonly vips?: unknown }) {
  const folder = await mkdtemp(join(tmpdir(), 'starlane-addresses-'))
  const file = join(folder, 'starlane.yaml')
  const apps: Server[] = []
  let runtime: Runtime | undefined
  const own = proxy.vips === 'clusterIP'
  // Those of the range are hashes of the services' names.
  const [vip, names] = own ? ['10.96.0.10', '10.96.0.11'] : ['127.96.205.102', '127.96.222.42']

  /** Who has the port of the service on all addresses. */
  const app = async (port: number): Promise<string> => {
    const server = createServer(socket => socket.on('error', () => {}).end('app\n'))
    const failed = await new Promise<string | undefined>(resolve =>
      server
        .on('error', (error: NodeJS.ErrnoException) => resolve(error.code))
        .listen(port, '0.0.0.0', () => resolve(undefined)),
    )
    if (!failed) apps.push(server)
    return failed ?? 'bound'
  }

  /** The backends of both services are these. */
  const pods = async (...ips: string[]): Promise<void> => {
    const list = ips.map(ip => ({ ip }))
    const objects = [
      ...manifests({ clusterIP: '10.96.0.10', pods: list }, 'api'),
      ...manifests({ clusterIP: '10.96.0.11', protocol: 'UDP', pods: list }, 'names'),
    ]
    await writeFile(join(folder, 'new'), objects.map(object => JSON.stringify(object)).join('\n---\n'))
    await rename(join(folder, 'new'), join(folder, 'services.yaml'))
  }

  const start = async (): Promise<void> => {
    runtime = await createRuntime({
      loaded: await loadConfig(file),
      log: silentLog,
      version: 'test',
      env: { STARLANE_NATIVE: process.env.STARLANE_NATIVE },
    })
    await runtime.start()
    await runtime.ready
  }

  /** What a client is told, or the code of its error. */
  const ask = (host: string, port: number): Promise<string> =>
    new Promise<string>(resolve => {
      const socket = connect({ host, port })
      socket.on('data', data => {
        resolve(`${data}`.trim())
        socket.destroy()
      })
      socket.on('error', (error: NodeJS.ErrnoException) => resolve(`${error.code}`))
      socket.on('close', () => resolve('closed'))
      socket.setTimeout(5000, () => {
        resolve('silence')
        socket.destroy()
      })
    })

  const askUdp = async (host: string, withinMs = 5000): Promise<string> => {
    const socket = createSocket('udp4')
    await new Promise<void>(resolve => socket.connect(7000, host, resolve))
    const answer = new Promise<string>(resolve => {
      socket.on('message', message => resolve(`${message}`))
      socket.on('error', (error: NodeJS.ErrnoException) => resolve(`${error.code}`))
      setTimeout(() => resolve('silence'), withinMs)
    })
    socket.send('x')
    return answer.finally(() => socket.close())
  }

  /**
   * Waits until both services refuse. A datagram that waits in a socket while that is closed is lost without an answer, so a UDP
   * client asks again.
   */
  const refused = async (): Promise<void> => {
    const refusals = ['ECONNREFUSED', 'app']
    await eventually(async () => assert.ok(refusals.includes(await ask(vip, 7000))), 10_000)
    await eventually(async () => assert.ok(refusals.includes(await askUdp(names, 100))), 10_000)
  }

  /** Opens a connection; the function returned tells whether it still carries bytes. */
  const hold = async (host: string): Promise<() => Promise<string>> => {
    const socket = connect({ host, port: 7000 })
    socket.on('error', () => {})
    await once(socket, 'data')
    const closed = new Promise<string>(resolve => socket.on('close', () => resolve('closed')))
    return async () => {
      socket.write('echo')
      return Promise.race([
        once(socket, 'data').then(
          ([data]) => `${data}`,
          () => closed,
        ),
        closed,
      ])
    }
  }

  /** Applies another `proxy.drain`, for which the proxy is replaced as a whole. */
  const reload = async (drain: string): Promise<void> => {
    await writeFile(file, JSON.stringify({ ...config, proxy: { ...config.proxy, drain } }))
    await runtime?.reload(await loadConfig(file))
  }

  const problems = async (): Promise<string[]> =>
    // Services without backends are the tests' own doing.
    (runtime?.status().problems ?? [])
      .filter(({ code }) => code !== 'SERVICE_REDUCED')
      .map(({ code, where }) => `${code} ${where}`)

  const echo = createServer(socket => {
    socket.on('error', () => {})
    socket.write('one\n')
    socket.pipe(socket)
  })
  await new Promise<void>(resolve => echo.listen(8000, backend, resolve))
  const pod = createSocket('udp4')
  pod.on('message', (_message, { address, port }) => pod.send('one', port, address))
  await new Promise<void>(resolve => pod.bind(8000, backend, resolve))
  await pods(backend)
  const config = {
    cluster: 'one',
    clusters: [{ name: 'one', id: 1, source: { manifests: './services.yaml' } }],
    dns: { listen: '127.0.0.1:0', upstream: [] },
    admin: { listen: '127.0.0.1:0' },
    proxy: { drain: '5s', ...proxy },
  }
  await writeFile(file, JSON.stringify(config))

  return {
    start,
    reload,
    app,
    pods,
    ask,
    askUdp,
    refused,
    hold,
    problems,
    /** The addresses of the TCP and of the UDP service. */
    vip,
    names,
    /** As another Starlane of the namespace would. */
    lock: () => takeLock('starlane-nftables'),
    stop: async (): Promise<void> => {
      runtime?.destroy()
      await runtime?.close()
    },
    rules: (): string => execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' }),
  }
}
