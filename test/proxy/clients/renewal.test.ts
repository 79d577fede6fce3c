/** Files that are renewed while Starlane runs are used within 2 s: edited in place, replaced, or behind a link that is swapped. */
import assert from 'node:assert/strict'
import { mkdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { lockKey } from '../../../proxy/clients/clustermesh.ts'
import { watchFiles } from '../../../proxy/clients/file-watch.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { createEtcdSource } from '../../../proxy/sources/etcd/etcd-source.ts'
import { createKubernetesSource } from '../../../proxy/sources/kubernetes/kubernetes-source.ts'
import { RecordingSink } from '../../conformance/source.ts'
import { type Certificates, folder, makeCertificates, noEtcd, startEtcd } from '../../support/etcd/etcd.ts'
import { Peer } from '../../support/etcd/peer.ts'
import { eventually } from '../../support/eventually.ts'
import { Authority } from '../../support/kube-api/certificates.ts'
import { namespaceOf, serviceOf, sliceOf } from '../../support/kube-api/declared.ts'
import { kubeconfigText } from '../../support/kube-api/kubeconfig.ts'
import { startKubeApi } from '../../support/kube-api/server.ts'
import { createWorld } from '../../support/world.ts'

const world = { clock: systemClock, random: () => 0.5, log: silentLog }
/** Until a change must have been seen. */
const soonMs = 2000

/** Makes `link` lead to `target` in one step, as git-sync and Kubernetes do. */
async function swap(link: string, target: string): Promise<void> {
  await symlink(target, `${link}.new`)
  await rename(`${link}.new`, link)
}

async function replace(file: string, content: string): Promise<void> {
  await writeFile(`${file}.new`, content)
  await rename(`${file}.new`, file)
}

t.test('every way to change a file is noticed, once', async t => {
  const path = await folder(t)
  const at = (...names: string[]) => join(path, ...names)
  for (const name of ['v1', 'v2', 'else']) await mkdir(at(name))
  await writeFile(at('v1', 'file'), 'one')
  await writeFile(at('v2', 'file'), 'two')
  await writeFile(at('else', 'single'), 'one')
  await symlink('v1', at('..data'))
  await symlink('..data/file', at('file'))
  await symlink(at('else', 'single'), at('link'))
  const files = [at('file'), at('link'), at('late')]
  let changes = 0
  const watch = watchFiles(
    () => files,
    systemClock,
    () => changes++,
  )
  t.teardown(watch.stop)
  const noticed = async (what: string, change: () => Promise<void>) => {
    const before = changes
    await change()
    await eventually(() => assert.equal(changes, before + 1, what), soonMs)
  }
  await noticed('a link above that is swapped', () => swap(at('..data'), 'v2'))
  await noticed('and then the file edited in place', () => writeFile(at('v2', 'file'), 'three'))
  await noticed('the target of a link, edited in place', () => writeFile(at('else', 'single'), 'two'))
  await noticed('and replaced', () => replace(at('else', 'single'), 'three'))
  await noticed('the link itself', () => swap(at('link'), 'v1/file'))
  await noticed('a file that comes later', () => writeFile(at('late'), 'one'))
  await noticed('a folder that is replaced', async () => {
    await rename(at('v2'), at('v2.old'))
    await mkdir(at('v2'))
    await writeFile(at('v2', 'file'), 'four')
  })
  // A path that is learnt late, and changes before the next look.
  files.push(at('else', 'single'))
  await noticed('a file that was listed just now', async () => {
    watch.pathsChanged()
    await writeFile(at('else', 'single'), 'four')
  })
  const before = changes
  await writeFile(at('v1', 'file'), 'one')
  await swap(at('..data'), './v2')
  await rm(at('late'))
  await noticed('only content counts', () => writeFile(at('v2', 'file'), 'five'))
  t.equal(changes, before + 1)
})

/** The files of a client, mounted as Kubernetes does: links through `..data`. */
async function mounted(t: Test, certificates: Certificates) {
  const path = await folder(t)
  const at = (name: string) => join(path, name)
  let versions = 0
  /** Those of the client of this name take the place of the others. */
  const mount = async (name: string): Promise<void> => {
    const { ca, cert, key } = await certificates.client(name)
    if (name === 'expired') await certificates.expire(name)
    const version = `..${versions++}`
    await mkdir(at(version))
    await writeFile(at(`${version}/ca.crt`), await readFile(ca))
    await writeFile(at(`${version}/tls.crt`), await readFile(cert))
    await writeFile(at(`${version}/tls.key`), await readFile(key))
    await swap(at('..data'), version)
  }
  for (const name of ['ca.crt', 'tls.crt', 'tls.key']) await symlink(`..data/${name}`, at(name))
  /** In place, as cert-manager's csi driver or a script does. */
  const overwrite = async (name: string): Promise<void> => {
    const { cert, key } = await certificates.client(name)
    await writeFile(at('tls.crt'), await readFile(cert))
    await writeFile(at('tls.key'), await readFile(key))
  }
  return { ca: at('ca.crt'), cert: at('tls.crt'), key: at('tls.key'), mount, overwrite }
}

t.test('etcd', { skip: noEtcd }, async t => {
  const certificates = await makeCertificates(t)
  const etcd = await startEtcd(t, { certificates })
  // Who may read is decided by the name in the certificate, so that it shows which one is used.
  const as = (...args: string[]) => etcd.ctl(...args)
  for (const user of ['root', 'reader', 'nobody']) await as('user', 'add', user, '--no-password')
  for (const role of ['root', 'all']) await as('role', 'add', role)
  await as('user', 'grant-role', 'root', 'root')
  await as('role', 'grant-permission', 'all', 'readwrite', 'cilium/', '--prefix')
  await as('user', 'grant-role', 'reader', 'all')
  await as('auth', 'enable')
  const client = await etcd.client()
  const peer = new Peer(client)
  await peer.put(peer.service('shop/cart'))
  await peer.announce()

  for (const how of ['mount', 'overwrite'] as const) {
    t.test(`certificates of a client file are followed: ${how}`, async t => {
      const files = await mounted(t, certificates)
      await files.mount('expired')
      const config = join(await folder(t), 'east')
      const pems = { 'trusted-ca-file': files.ca, 'cert-file': files.cert, 'key-file': files.key }
      await writeFile(config, JSON.stringify({ endpoints: [etcd.url], ...pems }))
      const sink = new RecordingSink()
      const source = createEtcdSource({ cluster: 'east', config }, world)
      t.teardown(() => source.close())
      source.start(sink)
      await eventually(() => assert.match(sink.error?.message ?? '', /tls\.crt \(CN=expired\) expired/))
      await files[how]('reader')
      await eventually(() => assert.equal(sink.link, 'live'), soonMs)
      await files[how]('nobody')
      await eventually(() => assert.match(sink.error?.message ?? '', /permission denied/), soonMs)
      await files[how]('reader')
      await eventually(() => assert.equal(sink.link, 'live'), soonMs)
      t.ok(sink.services.has('shop/cart'))
    })

    t.test(`and those of the publisher, which keeps its lock: ${how}`, async t => {
      const files = await mounted(t, certificates)
      await files.mount('expired')
      const { ca, cert, key } = files
      const seen: string[] = []
      const log = { ...silentLog, info: (event: string) => void seen.push(event) }
      const name = `home-${how}`
      const home = await createWorld(t, {
        clusters: [name],
        log,
        config: {
          clusters: [{ name, id: 1, source: { manifests: `./${name}` } }],
          publish: { endpoints: [etcd.url], ca, cert, key },
        },
      })
      await home.declare(name, { clusterIP: home.ip(1), pods: [] })
      await home.start()
      const state = () => home.status().publisher
      await eventually(() => assert.match(state()?.error ?? '', /tls\.crt \(CN=expired\) expired/))
      await files[how]('reader')
      await eventually(() => assert.equal(state()?.state, 'publishing'), soonMs)
      const lock = (await client.get(lockKey(name)))?.createRevision
      assert.ok(lock)
      await files[how]('nobody')
      await eventually(() => assert.match(state()?.error ?? '', /permission denied/), soonMs)
      await files[how]('reader')
      await eventually(() => assert.equal(state()?.state, 'publishing'), soonMs)
      t.equal((await client.get(lockKey(name)))?.createRevision, lock, 'nobody else could take over')
      t.ok(seen.includes('publish.reconfigured'))
    })
  }
})

t.test('an API server', async t => {
  const authority = new Authority()
  t.teardown(() => authority.close())
  const ca = authority.cert
  const tls = { ...authority.issue('kubernetes', ['IP:127.0.0.1']), ca }
  const api = async (name: string) => {
    const server = await startKubeApi({ tls, certificateUsers: { ann: { name: 'ann' }, bob: { name: 'bob' } } })
    t.teardown(() => server.stop())
    const declared = { namespace: 'default', name, clusterIP: '10.96.0.10', addresses: ['10.0.0.1'] }
    server.put(namespaceOf('default'))
    server.put(sliceOf(declared))
    server.put(serviceOf(declared))
    return server
  }
  const [first, second] = [await api('first'), await api('second')]
  const path = await folder(t)
  const at = (...names: string[]) => join(path, ...names)
  const user = { 'client-certificate': at('user.crt'), 'client-key': at('user.key') }
  const text = (server: string) => kubeconfigText([{ name: 'east', server, ca, user }])
  const login = async (name: string) => {
    const { cert, key } = authority.issue(name)
    await writeFile(at('user.key'), key)
    await writeFile(at('user.crt'), cert)
  }
  await login('ann')
  for (const [name, { url }] of Object.entries({ v1: first, v2: second })) {
    await mkdir(at(name))
    await writeFile(at(name, 'config'), text(url))
  }
  await symlink('v1', at('current'))
  const sink = new RecordingSink()
  const kubeconfig = at('current', 'config')
  const source = createKubernetesSource({ cluster: 'east', kubeconfig }, { ...world, env: {} })
  t.teardown(() => source.close())
  source.start(sink)
  const sees = (name: string, ms = soonMs) =>
    eventually(() => assert.deepEqual([...sink.services.keys()], [`default/${name}`]), ms)
  await sees('first', 10_000)
  await swap(at('current'), 'v2')
  await sees('second')
  await writeFile(at('v2', 'config'), text(first.url))
  await sees('first')
  await replace(at('v2', 'config'), text(second.url))
  await sees('second')
  t.ok([...first.seen, ...second.seen].every(({ user }) => user === 'ann'))
  await login('bob')
  await eventually(() => {
    second.watches.end()
    assert.equal(second.seen.at(-1)?.user, 'bob')
  }, soonMs)
  t.same(sink.violations, [])
})
