/**
 * A machine in namespaces of its own, with a Starlane of an unprivileged user, and commands under `starlane exec`. Prints a line of JSON for
 * each. Arguments: the static client, and one in Go if there is one.
 */
import { execFileSync, spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { chmodSync, mkdtempSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const [client = '', goClient] = process.argv.slice(2)
const run = (line: string) => execFileSync('sh', ['-c', line], { stdio: 'inherit' })

// Beyond its default route is an address of the loopback device, in place of the world outside.
run(`set -e
ip link set lo up
ip address add 203.0.113.1/32 dev lo
ip link add way type veth peer name beyond
ip address add 198.51.100.1/24 dev way
ip link set way up
ip link set beyond up
ip route add default via 198.51.100.2`)
const folder = mkdtempSync(join(tmpdir(), 'starlane-machine-'))
chmodSync(folder, 0o755)
// Everybody may use it on most machines; not in every container.
run(`mknod ${folder}/tun c 10 200 && chmod 666 ${folder}/tun && mount --bind ${folder}/tun /dev/net/tun`)

createServer({ allowHalfOpen: true }, socket => {
  socket.on('error', () => {}).end('from a pod\n')
}).listen(8080, '127.2.0.21')
createServer(socket => {
  socket.on('error', () => {}).end('from the world\n')
}).listen(8081, '203.0.113.1')
const udp = createSocket('udp4').on('message', (text, { port, address }) => udp.send(`pod says ${text}`, port, address))
udp.bind(8053, '127.2.0.21')

const service = `apiVersion: v1
kind: Service
metadata: { name: NAME, annotations: { service.cilium.io/global: "true" } }
spec:
  clusterIP: 10.96.0.IP
  ports: [{ name: http, port: 80, targetPort: 8080 }, { name: echo, port: 7, protocol: UDP, targetPort: 8053 }]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: NAME-1, labels: { kubernetes.io/service-name: NAME } }
addressType: IPv4
ports: [{ name: http, port: 8080 }, { name: echo, port: 8053, protocol: UDP }]
endpoints: [{ addresses: [127.2.0.21], conditions: { ready: true } }]
`
const services = (...names: string[]) =>
  writeFileSync(
    join(folder, 'services.yaml'),
    names.map((name, i) => service.replaceAll('NAME', name).replace('0.IP', `0.${10 + i}`)).join('---\n'),
  )
services('rebel-base', 'deathstar')
writeFileSync(
  join(folder, 'starlane.yaml'),
  `cluster: one
clusters: [{ name: one, id: 1, source: { manifests: ./services.yaml } }]
proxy: { vips: { address: 127.0.0.1, ports: 30000-30999 } }
dns: { listen: 127.0.0.1:5353 }
admin: { listen: 127.0.0.1:9911 }
`,
)

const asNobody = ['--reuid=65534', '--regid=65534', '--clear-groups', process.execPath, 'bin/starlane.js']
const environment = { ...process.env, NO_COLOR: '1' }
const starlane = (...words: string[]) =>
  spawn('setpriv', [...asNobody, ...words], { stdio: ['ignore', 'pipe', 'pipe'], env: environment })

const running = starlane('run', '-c', join(folder, 'starlane.yaml'))
const log: string[] = []
await new Promise<void>((resolve, reject) => {
  for (const output of [running.stdout, running.stderr])
    output.on('data', chunk => {
      log.push(`${chunk}`)
      if (log.join('').includes('"ready"')) resolve()
    })
  running.once('exit', () => reject(new Error(log.join(''))))
})

async function exec(name: string, ...words: string[]): Promise<void> {
  const child = starlane('exec', ...words)
  const said = { out: '', err: '' }
  child.stdout.on('data', chunk => {
    said.out += chunk
    // A service that is added while the command runs.
    if (`${chunk}`.includes('waiting')) services('rebel-base', 'deathstar', 'falcon')
  })
  child.stderr.on('data', chunk => {
    said.err += chunk
  })
  const code = await new Promise(resolve => child.once('close', resolve))
  process.stdout.write(`${JSON.stringify({ name, code, ...said })}\n`)
}

const script = `id -u
${client} rebel-base 80 half
${client} deathstar.default.svc.cluster.local 80
${client} rebel-base 7 udp
${client} 203.0.113.1 8081
cat /etc/resolv.conf
echo $REBEL_BASE_SERVICE_HOST:$REBEL_BASE_SERVICE_PORT
grep CapEff /proc/self/status`
await exec('by itself', '--', 'sh', '-c', script)
if (goClient) {
  const calls = [
    'tcp rebel-base:80',
    'tcp deathstar.default.svc.cluster.local:80',
    'udp rebel-base:7',
    'tcp 203.0.113.1:8081',
  ]
  await exec('go', '--', 'sh', '-c', calls.map(call => `${goClient} ${call}`).join('\n'))
}
await exec('dig', '--network', 'own', '--', 'dig', '+short', '+search', 'SRV', '_http._tcp.rebel-base')
const late = `echo waiting; until ${client} falcon 80; do sleep 0.1; done 2>/dev/null`
await exec('later', '--network', 'own', '--', 'sh', '-c', late)
await exec('code', '--network', 'own', '--', 'sh', '-c', 'exit 7')
running.kill('SIGTERM')
await new Promise(resolve => running.once('exit', resolve))
// What exec started has ended with it.
const left = execFileSync('sh', [
  '-c',
  'ps -eo args | grep -E "__inside|[p]asta .*--config-net|[s]lirp4netns" | grep -v grep | wc -l',
])
process.stdout.write(`${JSON.stringify({ name: 'left', out: `${left}`.trim() })}\n`)
process.exit(0)
