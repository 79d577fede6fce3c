/** `starlane exec` with a network of the command's own: ports below 1024 and static programs without root, and other traffic goes on. */
import { spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { goProgram } from '../../interop/go-program.ts'

const works = (program: string, ...args: string[]) => spawnSync(program, args).status === 0
// With processes of its own, so that what is left behind can be counted.
const namespaces = ['--net', '--mount', '--pid', '--fork', '--mount-proc']
const missing = [
  process.getuid?.() === 0 && works('unshare', ...namespaces, 'true') ? '' : 'root and network namespaces',
  works('sh', '-c', 'command -v pasta || command -v slirp4netns') ? '' : 'pasta or slirp4netns',
  works('sh', '-c', 'command -v musl-gcc') ? '' : 'musl-gcc',
  works('setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', process.execPath, 'bin/starlane.js', '--version')
    ? ''
    : 'a checkout that everybody may read',
].filter(Boolean)
const needs = { skip: missing.length > 0 && `needs ${missing.join(', ')}` }

interface Line {
  readonly name: string
  readonly code?: number
  readonly out: string
  readonly err?: string
}

const goClient = goProgram('static')

function machine(...clients: string[]): Map<string, Line> {
  const { stdout, stderr, status } = spawnSync(
    'unshare',
    [...namespaces, '--', process.execPath, 'test/e2e/exec/machine.ts', ...clients],
    { encoding: 'utf8', timeout: 100_000 },
  )
  if (status !== 0) throw new Error(`the machine ended with ${status}: ${stderr}`)
  const lines: Line[] = stdout
    .split('\n')
    .filter(Boolean)
    .map(line => JSON.parse(line))
  return new Map(lines.map(line => [line.name, line]))
}

t.test('a static program of an unprivileged user, services at their own ports', needs, async t => {
  const folder = t.testdir({})
  chmodSync(folder, 0o755)
  const client = join(folder, 'client')
  t.equal(spawnSync('musl-gcc', ['-static', '-O1', '-o', client, 'test/e2e/exec/client.c']).status, 0)
  const clients = [client]
  if (goClient.missing === false) {
    // Where everybody may run it.
    const copy = join(folder, 'go-client')
    copyFileSync(goClient.path, copy)
    clients.push(copy)
  }
  const said = machine(...clients)

  t.match(said.get('by itself'), { code: 0, err: '' }, 'nobody has to ask for it')
  const [uid, first = '', second = '', udp, world, ...rest] = said.get('by itself')?.out.split('\n') ?? []
  t.equal(uid, '65534', 'the command is the same user')
  t.match(first, /^127\.127\.\d+\.\d+ from a pod$/, 'port 80, which this user may not listen on outside')
  t.match(second, /^127\.127\.\d+\.\d+ from a pod$/)
  t.not(first, second, 'each service has an address of its own')
  const [address = ''] = first.split(' ')
  t.equal(udp, `${address} pod says hello`, 'UDP, port 7')
  t.equal(world, '203.0.113.1 from the world', 'other traffic goes on')
  t.match(rest.join('\n'), `nameserver 127.53.0.53\nsearch default.svc.cluster.local svc.cluster.local cluster.local\n`)
  t.match(rest.join('\n'), `\n${address}:80\n`, 'the variables say the same')
  t.match(rest.join('\n'), /CapEff:\t0+\n/, 'without capabilities')

  if (goClient.missing) t.pass(`a program in Go: ${goClient.missing}`, { skip: true })
  else {
    const answers = said.get('go')?.out.split('\n') ?? []
    t.match(said.get('go'), { code: 0, err: '' })
    t.equal(answers[0], `${address}:80 from a pod`, 'port 80 by its short name, from Go without a C library')
    t.match(answers[1], /^127\.127\.\d+\.\d+:80 from a pod$/)
    t.equal(answers[2], `${address}:7 pod says hello`)
    t.equal(answers[3], '203.0.113.1:8081 from the world')
  }

  if (said.get('dig')?.err?.includes('dig')) t.pass('dig is not installed', { skip: true })
  else t.match(said.get('dig'), { code: 0, out: / rebel-base\.default\.svc\.cluster\.local\.\n$/ }, 'DNS at port 53')
  t.match(said.get('later'), { code: 0, out: /^waiting\n127\.127\.\d+\.\d+ from a pod\n$/ }, 'a new service comes in')
  t.match(said.get('code'), { code: 7 }, 'the exit code is that of the command')
  t.equal(said.get('left')?.out, '0', 'nothing is left behind')
})
