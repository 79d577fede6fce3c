/** Kubeconfig files, credentials and credential plugins. */
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Access } from '../../../proxy/clients/kubernetes/access.ts'
import { inClusterAccess } from '../../../proxy/clients/kubernetes/in-cluster.ts'
import { accessOf, parseKubeconfig } from '../../../proxy/clients/kubernetes/kubeconfig.ts'
import { kubeconfigFiles, loadAccess } from '../../../proxy/clients/kubernetes/kubeconfig-files.ts'
import { LoginReader } from '../../../proxy/clients/kubernetes/login.ts'
import { proxyFor } from '../../../proxy/clients/kubernetes/proxy.ts'
import { loadConfig } from '../../../proxy/config/load.ts'
import { FakeClock } from '../../support/clock.ts'
import { base64 } from '../../support/kube-api/kubeconfig.ts'

const pem = '-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n'

/** The access that one context of one file means. */
function resolve(cluster: object, user: object = {}, file = '/etc/kube/config'): Access {
  const config = {
    'current-context': 'east',
    clusters: [{ name: 'east', cluster: { server: 'https://east.example:6443', ...cluster } }],
    users: [{ name: 'east', user }],
    contexts: [{ name: 'east', context: { cluster: 'east', user: 'east' } }],
  }
  return accessOf(parseKubeconfig(JSON.stringify(config), file))
}

t.test('a kubeconfig means the same as to kubectl', async t => {
  t.same(resolve({}), {
    name: 'context east of /etc/kube/config',
    server: 'https://east.example:6443',
    insecure: false,
    credential: { by: 'nothing' },
    impersonate: {},
  })

  t.test('servers', async t => {
    for (const [server, expected] of [
      ['https://east.example:6443/', 'https://east.example:6443'],
      ['https://rancher.example/k8s/clusters/c-1', 'https://rancher.example/k8s/clusters/c-1'],
      ['http://127.0.0.1:8001', 'http://127.0.0.1:8001'],
      ['https://[fd00::1]:6443', 'https://[fd00::1]:6443'],
      ['east.example:6443', 'http://east.example:6443'],
    ] as const) {
      t.equal(resolve({ server }).server, expected)
    }
    const hasCa = { server: 'east.example:6443', 'certificate-authority': 'ca.crt' }
    t.equal(resolve(hasCa).server, 'https://east.example:6443', 'https where certificates are spoken of')
  })

  t.test('paths are relative to the folder of the file', async t => {
    const access = resolve(
      { 'certificate-authority': 'pki/ca.crt' },
      { 'client-certificate': '../me.crt', 'client-key': '/keys/me.key', tokenFile: 'token' },
    )
    t.same(access.ca, { file: '/etc/kube/pki/ca.crt' })
    t.same(access.certificate, { cert: { file: '/etc/me.crt' }, key: { file: '/keys/me.key' } })
    t.same(access.credential, { by: 'token-file', file: '/etc/kube/token' })
  })

  t.test('precedence: data, then files; a token file, then a token, then a plugin', async t => {
    const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: 'get-token' }
    t.same(resolve({ 'certificate-authority': 'ca.crt', 'certificate-authority-data': base64(pem) }).ca, { data: pem })
    t.same(resolve({}, { tokenFile: '/t', token: 'x' }).credential, { by: 'token-file', file: '/t', token: 'x' })
    t.same(resolve({}, { token: 'x', exec }).credential, { by: 'token', token: 'x' })
    t.match(resolve({}, { exec }).credential, { by: 'exec', plugin: { command: 'get-token' } })
    t.same(resolve({}, { username: 'me', password: 'x' }).credential, { by: 'password', username: 'me', password: 'x' })
  })

  t.test('a plugin is looked up in PATH, or relative to the file if its name has a slash', async t => {
    const exec = { apiVersion: 'client.authentication.k8s.io/v1beta1', command: './bin/token', args: ['-c', 'east'] }
    t.match(resolve({}, { exec }).credential, { plugin: { command: '/etc/kube/bin/token', args: ['-c', 'east'] } })
  })

  t.test('TLS names, proxies and impersonation', async t => {
    const cluster = { 'tls-server-name': 'kubernetes', 'proxy-url': 'socks5://10.0.0.1:1080' }
    const user = { as: 'ann', 'as-groups': ['a', 'b'], 'as-user-extra': { 'acme/why': ['test'] } }
    t.match(resolve(cluster, user), {
      servername: 'kubernetes',
      proxy: 'socks5://10.0.0.1:1080',
      impersonate: {
        'Impersonate-User': 'ann',
        'Impersonate-Group': ['a', 'b'],
        'Impersonate-Extra-acme%2Fwhy': ['test'],
      },
    })
  })

  t.test('errors have a place and a remedy', async t => {
    const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: 'x' }
    for (const [cluster, user, message] of [
      [{ server: '' }, {}, /context east .*has no server; give https/],
      [{ server: 'ftp://x' }, {}, /"ftp:\/\/x" is not the address of an API server/],
      [{ 'insecure-skip-tls-verify': true, 'certificate-authority-data': base64(pem) }, {}, /does not go with/],
      [{ 'certificate-authority-data': base64('junk') }, {}, /certificate-authority-data is not base64-encoded PEM/],
      [{ 'proxy-url': 'gopher://x' }, {}, /proxy-url is not a proxy; write http/],
      [{}, { 'client-certificate': 'a.crt' }, /only one of client-certificate and client-key/],
      [{}, { token: 'x', username: 'me' }, /both a token and a password/],
      [{}, { 'as-groups': ['a'] }, /need `as`/],
      [{}, { exec: { ...exec, apiVersion: 'client.authentication.k8s.io/v1alpha1' } }, /is not .*v1 or/],
      [{}, { exec: { ...exec, interactiveMode: 'Always' } }, /interactiveMode Always needs a terminal/],
      [{}, { exec: { ...exec, command: '' } }, /the command is missing/],
      [{}, { 'auth-provider': { name: 'gcp' } }, /auth-provider gcp was removed from Kubernetes/],
    ] as const) {
      t.throws(() => resolve(cluster, user), { code: 'SOURCE_READ', message })
    }
  })

  t.test('hostile files are refused', async t => {
    for (const [text, message] of [
      ['{', /is not YAML/],
      ['[]', /the file: /],
      ['clusters: 7', /clusters: /],
      ['kind: Pod', /kind: "Pod" is not "Config"/],
      ['clusters: [{name: a}, {name: a}]', /has the name "a" twice/],
      ['users: [{name: 1}]', /users\.0\.name/],
    ] as const) {
      t.throws(() => parseKubeconfig(text, 'f'), { code: 'SOURCE_READ', message })
    }
    t.equal(parseKubeconfig('', 'f').contexts.size, 0, 'an empty file is a kubeconfig without contexts')
  })
})

t.test('contexts', async t => {
  const text = `
current-context: ""
clusters: [{name: c, cluster: {server: "https://c:1"}}]
contexts:
- {name: kind-east, context: {cluster: c}}
- {name: dangling, context: {cluster: gone}}
- {name: stranger, context: {cluster: c, user: gone}}`
  const config = parseKubeconfig(text, 'f')
  t.equal(accessOf(config, 'kind-east').server, 'https://c:1')
  t.throws(() => accessOf(config), { message: /no current-context is set; name one \(it has kind-east, dangling/ })
  t.throws(() => accessOf(config, 'kind-esat'), { message: /no context "kind-esat"; did you mean "kind-east"\?/ })
  t.throws(() => accessOf(config, 'dangling'), { message: /its cluster "gone" is not in the file/ })
  t.throws(() => accessOf(config, 'stranger'), { message: /its user "gone" is not in the file/ })
})

t.test('files', async t => {
  const folder = t.testdir({
    home: { '.kube': { config: config('home', 'https://home:1') } },
    one: config('shared', 'https://one:1'),
    two: config('shared', 'https://two:1', 'only-two'),
    bad: '{',
    'one:two': config('colon', 'https://colon:1'),
  })
  const at = (name: string) => join(folder, name)
  const home = at('home')

  t.equal((await loadAccess({}, { HOME: home })).server, 'https://home:1', '~/.kube/config')
  t.equal((await loadAccess({ kubeconfig: at('one') }, { KUBECONFIG: at('two') })).server, 'https://one:1', 'named')
  const several = { KUBECONFIG: `${at('missing')}:${at('one')}::${at('two')}:${at('one')}` }
  t.equal((await loadAccess({}, several)).server, 'https://one:1', 'the first file wins, missing ones are skipped')
  t.equal((await loadAccess({ context: 'only-two' }, several)).server, 'https://two:1', 'the others still count')
  await t.rejects(loadAccess({}, { KUBECONFIG: at('missing') }), { message: /there is no kubeconfig at .*missing/ })
  await t.rejects(loadAccess({}, { KUBECONFIG: `${at('one')}:${at('bad')}` }), { message: /bad is not YAML/ })
  t.equal((await loadAccess({ kubeconfig: at('one:two') }, several)).server, 'https://colon:1', 'a path is one file')
  t.equal((await loadAccess({}, { KUBECONFIG: at('one:two') })).server, 'https://one:1', 'KUBECONFIG is a list')
  t.same(kubeconfigFiles(at('one:two'), several), [at('one:two')])
  t.same(kubeconfigFiles(undefined, { KUBECONFIG: `${at('one')}:${at('two')}:` }), [at('one'), at('two')])
  const source = { kubernetes: { kubeconfig: './one:two' } }
  await writeFile(at('starlane.yaml'), JSON.stringify({ cluster: 'a', clusters: [{ name: 'a', id: 1, source }] }))
  const { config: loaded } = await loadConfig(at('starlane.yaml'))
  t.match(loaded.clusters[0]?.source, { kubernetes: { kubeconfig: at('one:two') } }, 'in the configuration too')
  await t.rejects(loadAccess({ kubeconfig: at('home') }, {}), { message: /cannot be read: EISDIR/ })
  await t.rejects(loadAccess({ kubeconfig: at('missing') }, {}), { message: /there is no kubeconfig at .*missing/ })

  function config(name: string, server: string, extra?: string): string {
    const names = extra === undefined ? [name] : [name, extra]
    return JSON.stringify({
      'current-context': name,
      clusters: names.map(name => ({ name, cluster: { server } })),
      contexts: names.map(name => ({ name, context: { cluster: name } })),
    })
  }
})

t.test('in a Pod', async t => {
  const env = { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '443' }
  t.match(inClusterAccess(env, '/sa'), {
    server: 'https://[fd00::1]:443',
    ca: { file: '/sa/ca.crt' },
    credential: { by: 'token-file', file: '/sa/token' },
  })
  t.throws(() => inClusterAccess({}, '/sa'), { message: /this is not a Pod; use a kubeconfig/ })
})

t.test('proxies follow the environment as they do for kubectl', async t => {
  const access = (server: string): Access => resolve({ server })
  const through = (server: string, env: Record<string, string>) => proxyFor(access(server), env)
  const HTTPS_PROXY = 'http://proxy:3128'
  t.equal(through('https://east.example:6443', { HTTPS_PROXY }), HTTPS_PROXY)
  t.equal(through('https://east.example:6443', { https_proxy: 'proxy:3128' }), HTTPS_PROXY)
  t.equal(through('http://east.example:6443', { HTTPS_PROXY }), undefined)
  t.equal(through('https://127.0.0.1:6443', { HTTPS_PROXY }), undefined, 'never for this machine')
  t.equal(proxyFor(resolve({ 'proxy-url': 'http://own:1' }), { HTTPS_PROXY, NO_PROXY: '*' }), 'http://own:1')
  for (const [NO_PROXY, server, excepted] of [
    ['*', 'https://east.example:6443', true],
    ['example', 'https://east.example:6443', true],
    ['.example', 'https://east.example:6443', true],
    ['.east.example', 'https://east.example:6443', false],
    ['*.example', 'https://east.example:6443', true],
    ['ast.example', 'https://east.example:6443', false],
    ['east.example:443', 'https://east.example:6443', false],
    ['east.example:443', 'https://east.example', true],
    ['10.0.0.0/8, other', 'https://10.1.2.3:6443', true],
    ['10.1.2.3', 'https://10.1.2.3:6443', true],
    ['fd00::/8', 'https://[fd00::1]:6443', true],
    ['10.0.0.0/8', 'https://11.1.2.3:6443', false],
  ] as const) {
    t.equal(through(server, { HTTPS_PROXY, NO_PROXY }), excepted ? undefined : HTTPS_PROXY, `${NO_PROXY} ${server}`)
  }
})

t.test('files are read again each time', async t => {
  const folder = t.testdir({ token: 'one\n', 'ca.crt': pem })
  const access = inClusterAccess({ KUBERNETES_SERVICE_HOST: '10.0.0.1', KUBERNETES_SERVICE_PORT: '443' }, folder)
  const reader = new LoginReader({ env: {}, clock: new FakeClock() })
  t.match(await reader.read(access, false), { headers: { authorization: 'Bearer one' }, tls: { ca: pem } })
  writeFileSync(join(folder, 'token'), 'two')
  t.match(await reader.read(access, false), { headers: { authorization: 'Bearer two' } })
  writeFileSync(join(folder, 'token'), 'a\r\nb: c')
  await t.rejects(reader.read(access, false), { message: /characters that are not allowed in a header/ })
  writeFileSync(join(folder, 'token'), '')
  await t.rejects(reader.read(access, false), { message: /token is empty/ })
})

t.test('credential plugins', async t => {
  const clock = new FakeClock()

  t.test('run once, and again when the credential has expired or was refused', async t => {
    const { access, runs, answer } = plugin(t)
    const reader = new LoginReader({ env: { PATH: process.env.PATH }, clock })
    answer({ token: 'first', expirationTimestamp: new Date(clock.wall() + 60_000).toISOString() })
    t.match(await reader.read(access, false), { headers: { authorization: 'Bearer first' } })
    await reader.read(access, false)
    t.equal(runs().length, 1)
    await clock.advance(50_001)
    answer({ token: 'second' })
    t.match(await reader.read(access, false), { headers: { authorization: 'Bearer second' }, goodUntil: undefined })
    answer({ clientCertificateData: pem, clientKeyData: 'key' })
    t.match(await reader.read(access, true), { tls: { cert: pem, key: 'key' }, headers: { authorization: undefined } })
    t.equal(runs().length, 3)
  })

  t.test('get the cluster, and are never interactive', async t => {
    const { access, runs, answer } = plugin(t, { provideClusterInfo: true })
    answer({ token: 'x' })
    await new LoginReader({ env: { PATH: process.env.PATH }, clock }).read(access, false)
    t.match(JSON.parse(runs()[0] ?? ''), {
      kind: 'ExecCredential',
      apiVersion: 'client.authentication.k8s.io/v1',
      spec: {
        interactive: false,
        cluster: { server: 'https://east.example:6443', 'certificate-authority-data': base64(pem) },
      },
    })
  })

  t.test('failures have a reason', async t => {
    const env = { PATH: process.env.PATH }
    const read = (access: Access) => new LoginReader({ env, clock }).read(access, false)
    const { access, answer, script } = plugin(t, { args: ['--secret=hunter2'] })
    answer('not JSON')
    await t.rejects(read(access), { message: /did not print an ExecCredential of client.authentication.k8s.io\/v1/ })
    answer({})
    await t.rejects(read(access), { message: /neither a token nor a certificate/ })
    answer({ clientCertificateData: pem })
    await t.rejects(read(access), { message: /a certificate without its key/ })
    script('echo please log in >&2; exit 3')
    const error = await read(access).catch(error => error)
    t.match(error, { code: 'SOURCE_READ', message: /credential plugin .* failed: please log in/ })
    t.notMatch(`${error.message} ${error.cause}`, /hunter2/, 'arguments may be secret')
    const hint = plugin(t, { command: 'starlane-no-such-plugin', installHint: 'get it from example.org' })
    await t.rejects(read(hint.access), { message: /is not installed: get it from example.org/ })
  })
})

/** A plugin that prints what it is told to, and keeps what it was asked. */
function plugin(t: Test, extra: object = {}) {
  const folder = t.testdir({})
  const command = join(folder, 'plugin')
  const script = (text: string) => {
    writeFileSync(command, `#!/bin/sh\n${text}\n`)
    chmodSync(command, 0o755)
  }
  const answer = (status: object | string) => {
    const credential = { kind: 'ExecCredential', apiVersion: 'client.authentication.k8s.io/v1', status }
    const text = typeof status === 'string' ? status : JSON.stringify(credential)
    writeFileSync(join(folder, 'answer'), text)
    script(`printf '%s\\n' "$KUBERNETES_EXEC_INFO" >> ${join(folder, 'asked')}\ncat ${join(folder, 'answer')}`)
  }
  const runs = () => readFileSync(join(folder, 'asked'), 'utf8').trim().split('\n')
  const exec = { apiVersion: 'client.authentication.k8s.io/v1', command, ...extra }
  const access = resolve({ 'certificate-authority-data': base64(pem) }, { exec })
  return { access, answer, script, runs }
}
