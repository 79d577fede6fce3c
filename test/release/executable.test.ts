/** The single executable: made from this checkout, run where there is no Node and no package. */
import assert from 'node:assert/strict'
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { parseAllDocuments } from 'yaml'
import { version } from '../../proxy/cli/version.ts'
import { bundle } from '../../scripts/release/bundle.ts'
import { makeExecutable } from '../../scripts/release/executable.ts'
import { oneService } from '../../scripts/release/one-service.ts'
import { eventually } from '../support/eventually.ts'
import { writeKubeconfig } from '../support/kube-api/kubeconfig.ts'
import { startKubeApi } from '../support/kube-api/server.ts'
import type { KubeObject } from '../support/kube-api/types.ts'

const root = fileURLToPath(new URL('../../', import.meta.url)).replace(/\/$/, '')
const addon = join(root, 'native/build/starlane.node')
const folder = t.testdir({
  tmp: {},
  'plugin.ts': `
    import { definePlugin, duration } from 'starlane'
    import { hostname } from 'node:os'
    await Promise.resolve()
    const options = { wait: duration('How long.', '1s') }
    export default definePlugin({ name: 'mine', options, onError: 'skip', create: () => ({ state: () => ({ host: hostname() }) }) })
  `,
  'starlane.yaml': `
cluster: one
clusters: [{ name: one, id: 1, source: { manifests: ./one } }]
dns: { listen: 127.0.0.1:0 }
admin: { listen: 127.0.0.1:0 }
proxy: { vips: { cidr: 127.96.0.0/16 } }
plugins: [{ use: affinity }, { use: ./plugin.ts, options: { wait: 2s } }]
`,
  one: {
    'service.yaml': `
apiVersion: v1
kind: Service
metadata: { name: rebel-base, annotations: { service.cilium.io/global: "true" } }
spec: { clusterIP: 10.96.0.10, ports: [{ port: 80 }] }
`,
  },
})
const executable = join(folder, 'starlane')
/** No Node on the PATH, and a temporary folder whose content can be looked at. */
const env = { PATH: '/usr/bin:/bin', TMPDIR: join(folder, 'tmp'), NO_COLOR: '1' }

function starlane(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(executable, args, { cwd: folder, env, encoding: 'utf8' })
}

t.test('the single executable', { skip: process.platform === 'linux' ? false : 'it is made for Linux' }, async t => {
  const parts = {
    root,
    work: join(folder, 'work'),
    node: process.execPath,
    bundle: await bundle(root),
    addon: existsSync(addon) ? addon : undefined,
    native: true,
  }
  await makeExecutable({ ...parts, output: executable })

  await t.test('is the same, byte for byte, when it is made again', async t => {
    const again = join(folder, 'again')
    await makeExecutable({ ...parts, work: join(folder, 'other/work'), output: again })
    const bytes = readFileSync(executable)
    t.ok(readFileSync(again).equals(bytes))
    for (const place of [root, folder]) t.notOk(bytes.includes(place), 'it names no folder of the machine that made it')
  })

  await t.test('knows its version and its commands', async t => {
    t.match(starlane('--version'), { status: 0, stdout: `${version}\n`, stderr: '' })
    t.match(starlane('--help').stdout, /Usage: starlane/)
    t.match(starlane('nonsense'), { status: 2, stderr: /unknown command/ })
  })

  await t.test('loads its own plugins and those of the user', async t => {
    const { status, stdout, stderr } = starlane('validate', '-c', 'starlane.yaml')
    t.equal(status, 0, stderr)
    t.match(stdout, /1 +affinity +built-in/)
    t.match(stdout, /2 +mine +\.\/plugin\.ts/)
    t.equal(stderr, '', 'without a warning of Node')

    const unknown =
      'cluster: one\nclusters: [{ name: one, id: 1, source: { manifests: ./one } }]\nplugins: [{ use: none }]\n'
    writeFileSync(join(folder, 'bad.yaml'), unknown)
    t.match(starlane('validate', '-c', 'bad.yaml').stdout, /built-in plugins: affinity, circuit-breaker/)
  })

  await t.test('reads a large manifest in its thread', async t => {
    const large = `# ${'x'.repeat(200_000)}\napiVersion: v1\nkind: Service\nmetadata: { name: web }\nspec: { ports: [{ port: none }] }\n`
    mkdirSync(join(folder, 'large'))
    writeFileSync(join(folder, 'large/web.yaml'), large)
    writeFileSync(
      join(folder, 'large.yaml'),
      'cluster: one\nclusters: [{ name: one, id: 1, source: { manifests: ./large } }]\n',
    )
    const { stdout, stderr } = starlane('validate', '-c', 'large.yaml')
    t.match(`${stdout}${stderr}`, /web\.yaml:5.*spec\.ports\[0\]\.port: "none"/)
  })

  await t.test('runs, with the native engine, the page and the metrics inside', async t => {
    const child = spawn(executable, ['run', '-c', 'starlane.yaml'], { cwd: folder, env })
    t.teardown(() => child.kill('SIGKILL'))
    const ready = await readyOf(child)
    if (existsSync(addon)) t.equal(ready.engine, 'native')
    t.match(await (await fetch(`http://${ready.admin}/`)).text(), /<style>[^<]+<\/style>/)
    t.match(await (await fetch(`http://${ready.admin}/metrics`)).text(), /starlane_/)
    t.same(readdirSync(env.TMPDIR), [], 'the addon was removed once it was loaded')

    const ended = new Promise<number | null>(resolve => child.once('exit', resolve))
    child.kill('SIGTERM')
    t.equal(await ended, 0)
  })

  await t.test('follows API servers, one of them through a proxy, and checks backends by HTTP', async t => {
    let asked = 0
    const proxy = createHttpServer(({ url = '', headers }, response) => {
      asked++
      const upstream = request(url, { headers }, answer => {
        response.writeHead(answer.statusCode ?? 502, answer.headers).flushHeaders()
        answer.pipe(response)
      })
      upstream.on('error', () => response.destroy()).end()
      response.on('close', () => upstream.destroy())
    }).listen(0, '127.0.0.1')
    await once(proxy, 'listening')
    t.teardown(() => proxy.close())
    const servers = ['one', 'two'].map(async (name, i) => {
      const address = `127.0.77.${i + 1}`
      const pod = createHttpServer((_, response) => response.end('ok')).listen(0, address)
      await once(pod, 'listening')
      t.teardown(() => pod.close())
      const api = await startKubeApi()
      t.teardown(() => api.stop())
      const { port } = pod.address() as AddressInfo
      const service = oneService({ port: 80, backend: { address, port } })
      for (const document of parseAllDocuments(service)) api.put(document.toJS() as KubeObject)
      const { port: via } = proxy.address() as AddressInfo
      const cluster = i === 0 ? {} : { 'proxy-url': `http://127.0.0.1:${via}` }
      writeKubeconfig(join(folder, `${name}.json`), [{ name, server: api.url, cluster }])
      return `{ name: ${name}, id: ${i + 1}, source: { kubernetes: { kubeconfig: ./${name}.json } }, allow: { loopback: true } }`
    })
    const clusters = await Promise.all(servers)
    const head = 'cluster: one\ndns: { listen: 127.0.0.1:0 }\nadmin: { listen: 127.0.0.1:0 }\n'
    const rest = 'proxy: { vips: { cidr: 127.95.0.0/16 } }\nhealth: { active: { type: http, interval: 100ms } }\n'
    writeFileSync(join(folder, 'kubernetes.yaml'), `${head}clusters: [${clusters.join(', ')}]\n${rest}`)
    const child = spawn(executable, ['run', '-c', 'kubernetes.yaml'], { cwd: folder, env })
    t.teardown(() => child.kill('SIGKILL'))
    const { admin } = await readyOf(child)
    await eventually(async () => {
      const answer = await (await fetch(`http://${admin}/v1/services`)).text()
      assert.equal(answer.match(/"health":"up"/g)?.length, 2, answer)
    })
    t.ok(asked > 0, 'through the proxy')
  })

  await t.test('prints what install would apply, from the files inside', async t => {
    const { status, stderr } = starlane('install', 'node-agent', '-c', 'starlane.yaml', '--print')
    const unusable = /kubectl is not installed|too old/.test(stderr)
    t.equal(status, unusable ? 2 : 0, stderr)
    t.same(readdirSync(env.TMPDIR), [], 'nothing is left behind')
  })
})

function readyOf({ stderr }: ChildProcessWithoutNullStreams): Promise<{ admin: string; engine: string }> {
  return new Promise(resolve => {
    createInterface(stderr).on('line', line => {
      const entry = JSON.parse(line)
      if (entry.event === 'ready') resolve(entry)
    })
  })
}
