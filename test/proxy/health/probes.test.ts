/** The probes over real sockets: how they handle every kind of peer, and what the peer sees. */
import { execFile } from 'node:child_process'
import { createServer as createHttpServer, type IncomingMessage, type RequestListener } from 'node:http'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import t, { type Test } from 'tap'
import type { CheckResult, Probe } from '../../../proxy/health/probe.ts'
import { httpProbe } from '../../../proxy/health/probe-http.ts'
import { tcpProbe } from '../../../proxy/health/probe-tcp.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { FakeClock } from '../../support/clock.ts'
import { eventually } from '../../support/eventually.ts'
import { http } from './support.ts'

/** A timeout that is never reached, for checks that must settle by themselves. */
const patient = 20_000
const short = 200

t.test('tcp: a listener passes, a closed port fails, over both families', async t => {
  for (const address of ['127.0.0.1', '::1']) {
    const port = await serve(t, socket => socket.resume(), address)
    const free = await freePort(address)
    const probe = tcp(t, patient)
    t.same(await probe.check({ address, port }), { outcome: 'passed' }, address)
    t.match(await probe.check({ address, port: free }), { outcome: 'failed', why: /ECONNREFUSED/ }, address)
  }
})

t.test('tcp: the backend sees an orderly close, even when it sends first', async t => {
  const ends: string[] = []
  const port = await serve(t, socket => {
    socket.write('220 mail.example ESMTP\r\n')
    socket.on('error', error => ends.push(error.message))
    socket.resume().on('end', () => ends.push('end'))
  })
  const probe = tcp(t, patient)
  for (let i = 0; i < 5; i++) t.same(await probe.check({ address: '127.0.0.1', port }), { outcome: 'passed' })
  await until(() => ends.length === 5)
  t.same(ends, Array(5).fill('end'))
})

t.test('tcp: a backend that neither reads nor closes does not hold the check', async t => {
  const port = await serve(t, socket => void socket.pause(), '127.0.0.1', { allowHalfOpen: true })
  const flood = await serve(
    t,
    socket => {
      const pour = () => {
        while (socket.writable && socket.write(Buffer.alloc(65_536)));
      }
      socket.on('drain', pour)
      pour()
    },
    '127.0.0.1',
    { allowHalfOpen: true },
  )
  const probe = tcp(t, patient)
  t.same(await probe.check({ address: '127.0.0.1', port }), { outcome: 'passed' })
  t.same(await probe.check({ address: '127.0.0.1', port: flood }), { outcome: 'passed' })
})

t.test('a check leaves no timer behind, however it ends', async t => {
  const clock = new FakeClock()
  const port = await serveHttp(t, (_request, response) => response.end('ok'))
  for (const probe of [tcpProbe({ timeoutMs: patient }, clock), httpProbe(http, clock)]) {
    t.same(await probe.check({ address: '127.0.0.1', port }), { outcome: 'passed' })
    t.match(await probe.check({ address: '127.0.0.1', port: await freePort() }), { outcome: 'failed' })
    await until(() => clock.waiting === 0)
  }
})

t.test('a full backlog drops the SYN, and the check times out', async t => {
  const port = await fullBacklog(t)
  for (const probe of [tcp(t, short), web(t, { timeoutMs: short })]) {
    t.same(await probe.check({ address: '127.0.0.1', port }), {
      outcome: 'failed',
      why: 'no answer within 200 ms',
      unanswered: true,
    })
  }
})

t.test('destroy settles the checks in flight', async t => {
  const mute = await serve(t, () => {})
  const blackhole = await fullBacklog(t)
  const probes = [
    { probe: tcp(t, patient), port: blackhole },
    { probe: web(t), port: blackhole },
    { probe: web(t), port: mute },
  ]
  const results = probes.map(({ probe, port }) => probe.check({ address: '127.0.0.1', port }))
  await new Promise(resolve => setImmediate(resolve))
  for (const { probe } of probes) probe.destroy()
  t.match(await Promise.all(results), Array(3).fill({ outcome: 'failed' }))
})

t.test('a socket that connects to itself fails the check', async t => {
  // On loopback this happens about once in ten thousand dials; with only two source ports, within a few.
  const ports = 'ip link set lo up && echo 40000 40001 > /proc/sys/net/ipv4/ip_local_port_range'
  const found = await inShell(
    ['unshare', '-rn', '/bin/sh', '-c', `${ports} && exec "$@"`, 'sh'],
    `const results = []
     for (let i = 0; i < 40; i++) results.push(await probe.check({ address: '127.0.0.1', port: 40000 + (i % 2) }))
     report(results)`,
  )
  if (!found) {
    t.pass('not tried', { skip: 'needs unshare and iproute2, and the right to use them' })
    return
  }
  t.match(found, Array(40).fill({ outcome: 'failed', why: /ECONNREFUSED|connected to itself/ }))
  t.match(found.map(({ why }) => why).join(), /connected to itself/)
})

t.test('out of file descriptors is a fault of this machine', async t => {
  const found = await inShell(
    ['/bin/sh', '-c', 'ulimit -n 64; exec "$@"', 'sh'],
    `try { for (;;) openSync('/dev/null') } catch {}
     report([await probe.check({ address: '127.0.0.1', port: 1 })])`,
  )
  t.match(found, [{ outcome: 'local', why: /EMFILE/ }])
})

t.test('a check begins with a header of the PROXY protocol where the backend expects one', async t => {
  const seen: Buffer[] = []
  const port = await serve(t, socket => {
    socket.on('error', () => {})
    socket.on('data', bytes => {
      seen.push(bytes)
      if (bytes.includes('GET')) socket.end('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n')
    })
  })
  const asked = { address: '127.0.0.1', port, sendProxy: true }
  t.same(await web(t).check(asked), { outcome: 'passed' })
  const header = '0d0a0d0a000d0a515549540a20000000'
  t.equal(Buffer.concat(seen).subarray(16, 20).toString('latin1'), 'GET ')
  t.equal(Buffer.concat(seen).subarray(0, 16).toString('hex'), header)
  seen.length = 0
  t.same(await tcp(t, patient).check(asked), { outcome: 'passed' })
  await until(() => seen.length > 0)
  t.equal(Buffer.concat(seen).toString('hex'), header)
})

t.test('http: the status decides', async t => {
  const cases: { status: number; range?: { min: number; max: number }; result: CheckResult }[] = [
    { status: 200, result: { outcome: 'passed' } },
    { status: 299, result: { outcome: 'passed' } },
    { status: 204, result: { outcome: 'passed' } },
    { status: 300, result: { outcome: 'failed', why: 'status 300 is not in 200-299' } },
    { status: 503, result: { outcome: 'failed', why: 'status 503 is not in 200-299' } },
    { status: 401, range: { min: 200, max: 499 }, result: { outcome: 'passed' } },
  ]
  for (const { status, range = http.status, result } of cases) {
    const port = await serveHttp(t, (_request, response) => response.writeHead(status).end('so'))
    t.same(await web(t, { status: range }).check({ address: '127.0.0.1', port }), result, `${status}`)
  }
})

t.test('http: requests the path at the address, and follows no redirect', async t => {
  for (const address of ['127.0.0.1', '::1']) {
    const requests: IncomingMessage[] = []
    const port = await serveHttp(
      t,
      (request, response) => {
        requests.push(request)
        response.writeHead(302, { location: '/elsewhere' }).end()
      },
      address,
    )
    const probe = web(t, { path: '/ready?full=1', status: { min: 302, max: 302 } })
    t.same(await probe.check({ address, port }), { outcome: 'passed' })
    t.match(requests, [
      {
        method: 'GET',
        url: '/ready?full=1',
        headers: {
          host: address === '::1' ? `[::1]:${port}` : `127.0.0.1:${port}`,
          connection: 'close',
          'user-agent': 'starlane-health',
        },
      },
    ])
    t.equal(requests.length, 1)
  }
})

t.test('http: no connection outlives its check', async t => {
  let open = 0
  let seen = 0
  const server = createHttpServer((_request, response) => response.end('ok'))
  server.on('connection', socket => {
    open++
    seen++
    socket.on('close', () => open--)
  })
  const port = await listen(t, server)
  const probe = web(t)
  const results = await Promise.all(Array.from({ length: 20 }, () => probe.check({ address: '127.0.0.1', port })))
  t.same(results, Array(20).fill({ outcome: 'passed' }))
  await until(() => open === 0)
  t.equal(seen, 20)
})

t.test('http: any other peer fails the check in time, with a reason', async t => {
  const cases: {
    what: string
    talk: (socket: Socket) => void
    timeoutMs?: number
    result: CheckResult | { why: RegExp }
  }[] = [
    {
      what: 'accepts and is silent',
      talk: () => {},
      timeoutMs: short,
      result: { outcome: 'failed', why: 'no answer within 200 ms' },
    },
    { what: 'closes at once', talk: socket => socket.end(), result: { why: /closed/ } },
    { what: 'resets at once', talk: socket => socket.resetAndDestroy(), result: { why: /ECONNRESET|closed/ } },
    { what: 'speaks something else', talk: socket => socket.end('SSH-2.0-OpenSSH_9.2\r\n'), result: { why: /HTTP/ } },
    { what: 'a TLS alert', talk: socket => socket.end(Buffer.from('15030100020246', 'hex')), result: { why: /HTTP/ } },
    { what: 'random bytes', talk: socket => socket.end(Buffer.alloc(100_000, 0xfe)), result: { why: /HTTP/ } },
    { what: 'half a head', talk: socket => socket.end('HTTP/1.1 200 OK\r\nServer: x'), result: { why: /./ } },
    {
      what: 'endless head',
      talk: endless('HTTP/1.1 200 OK\r\n', 'x-filler: 0123456789\r\n'),
      result: { why: /[Hh]eader/ },
    },
    {
      what: 'endless hints',
      talk: endless('', 'HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n'),
      timeoutMs: short,
      result: { outcome: 'failed', why: 'no answer within 200 ms' },
    },
    {
      what: 'switches protocols',
      talk: socket => socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n'),
      result: { why: /upgrade/ },
    },
    {
      what: 'a body that drips',
      talk: socket => {
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n')
        const drip = setInterval(() => socket.write('.'), 10)
        socket.on('close', () => clearInterval(drip))
      },
      timeoutMs: short,
      result: { outcome: 'failed', why: 'no answer within 200 ms' },
    },
    {
      what: 'a body cut short',
      talk: socket => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf'),
      result: { why: /closed|mismatch/ },
    },
  ]
  for (const { what, talk, timeoutMs = patient, result } of cases) {
    const port = await serve(t, socket => {
      socket.on('error', () => {})
      socket.once('data', () => talk(socket))
    })
    const found = await web(t, { timeoutMs }).check({ address: '127.0.0.1', port })
    t.match(found, { outcome: 'failed', ...result }, `${what}: ${JSON.stringify(found)}`)
  }
  t.match(await web(t).check({ address: '127.0.0.1', port: await freePort() }), {
    outcome: 'failed',
    why: /ECONNREFUSED/,
  })
})

t.test('http: a huge body is not read to its end', async t => {
  let sent = 0
  const closed = Promise.withResolvers<void>()
  const port = await serveHttp(t, (_request, response) => {
    response.writeHead(200)
    const pour = () => {
      for (let more = true; more && !response.destroyed; sent += 65_536) more = response.write(Buffer.alloc(65_536))
    }
    response.on('drain', pour)
    response.on('close', closed.resolve)
    pour()
  })
  t.same(await web(t).check({ address: '127.0.0.1', port }), { outcome: 'passed' })
  await closed.promise
  t.ok(sent < 64 * 1024 * 1024, `${sent} bytes`)
  const announced = await serve(t, socket => {
    socket.on('error', () => {})
    socket.once('data', () =>
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: 9007199254740991\r\n\r\n${'x'.repeat(100_000)}`),
    )
  })
  t.same(await web(t).check({ address: '127.0.0.1', port: announced }), { outcome: 'passed' })
})

/** Runs a script around a TCP probe under the given command; undefined when that command is missing. */
async function inShell(command: string[], script: string): Promise<{ outcome: string; why?: string }[] | undefined> {
  const from = (path: string) => JSON.stringify(new URL(`../../../proxy/${path}`, import.meta.url).href)
  const whole = `
    import { openSync } from 'node:fs'
    import { tcpProbe } from ${from('health/probe-tcp.ts')}
    import { systemClock } from ${from('model/time/clock.ts')}
    const probe = tcpProbe({ timeoutMs: ${patient} }, systemClock)
    const report = results => process.stdout.write(JSON.stringify(results))
    ${script}`
  const [file = '', ...args] = [...command, process.execPath, '--input-type=module', '-e', whole]
  // Without NODE_OPTIONS, since the coverage and loaders of the test runner open files.
  const { stdout } = await promisify(execFile)(file, args, { env: { PATH: process.env.PATH } }).catch(() => ({
    stdout: '',
  }))
  return stdout === '' ? undefined : JSON.parse(stdout)
}

function tcp(t: Test, timeoutMs: number): Probe {
  const probe = tcpProbe({ timeoutMs }, systemClock)
  t.teardown(() => probe.destroy())
  return probe
}

function web(t: Test, options: Partial<typeof http> = {}): Probe {
  const probe = httpProbe({ ...http, timeoutMs: patient, ...options }, systemClock)
  t.teardown(() => probe.destroy())
  return probe
}

function serve(t: Test, talk: (socket: Socket) => void, address = '127.0.0.1', options = {}): Promise<number> {
  const open = new Set<Socket>()
  const server = createServer(options, socket => {
    open.add(socket.on('error', () => {}))
    talk(socket)
  })
  t.teardown(() => {
    for (const socket of open) socket.destroy()
  })
  return listen(t, server, address)
}

function serveHttp(t: Test, answer: RequestListener, address?: string): Promise<number> {
  return listen(t, createHttpServer(answer), address)
}

async function listen(t: Test, server: ReturnType<typeof createServer>, address = '127.0.0.1'): Promise<number> {
  await new Promise<void>(resolve => server.listen(0, address, resolve))
  t.teardown(() => void server.close())
  return (server.address() as AddressInfo).port
}

/** A port that was free a moment ago, so that nothing should listen there. */
async function freePort(address = '127.0.0.1'): Promise<number> {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, address, resolve))
  const { port } = server.address() as AddressInfo
  await new Promise(resolve => server.close(resolve))
  return port
}

/** Sends `start`, then `more` as long as the peer reads. */
function endless(start: string, more: string): (socket: Socket) => void {
  return socket => {
    const chunk = more.repeat(1000)
    const pour = () => {
      while (socket.writable && socket.write(chunk));
    }
    socket.on('drain', pour)
    socket.write(start)
    pour()
  }
}

/** A port whose accept queue stays full: its thread is blocked, nothing is accepted, and the kernel drops every SYN. */
async function fullBacklog(t: Test): Promise<number> {
  const asleep = new Int32Array(new SharedArrayBuffer(4))
  const worker = new Worker(
    `const { parentPort, workerData } = require('node:worker_threads')
     const server = require('node:net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
       parentPort.postMessage(server.address().port)
       Atomics.wait(workerData, 0, 0)
       process.exit()
     })`,
    { eval: true, workerData: asleep },
  )
  const port = await new Promise<number>(resolve => worker.once('message', resolve))
  const fillers = Array.from({ length: 8 }, () => connect({ host: '127.0.0.1', port }).on('error', () => {}))
  t.teardown(async () => {
    for (const filler of fillers) filler.destroy()
    Atomics.store(asleep, 0, 1)
    Atomics.notify(asleep, 0)
    await worker.terminate()
  })
  // A backlog of one holds two connections.
  await until(() => fillers.filter(filler => filler.readyState === 'open').length >= 2)
  return port
}

function until(reached: () => boolean): Promise<void> {
  return eventually(() => {
    if (!reached()) throw new Error(`not reached: ${reached}`)
  })
}
