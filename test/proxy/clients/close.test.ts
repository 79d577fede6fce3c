/** Every client of ours, closed in every phase. */
import assert from 'node:assert/strict'
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { heartbeatKey } from '../../../proxy/clients/clustermesh.ts'
import type { EtcdClient } from '../../../proxy/clients/etcd/client.ts'
import { connectEtcd } from '../../../proxy/clients/etcd/connect.ts'
import { createKubernetesClient } from '../../../proxy/clients/kubernetes/connect.ts'
import { askTcp, askUdp } from '../../../proxy/dns/forward/exchange.ts'
import { httpProbe } from '../../../proxy/health/probe-http.ts'
import { tcpProbe } from '../../../proxy/health/probe-tcp.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import type { Clock } from '../../../proxy/model/time/clock.ts'
import { createPublisher } from '../../../proxy/publish/publisher.ts'
import { createEtcdSource } from '../../../proxy/sources/etcd/etcd-source.ts'
import { createKubernetesSource } from '../../../proxy/sources/kubernetes/kubernetes-source.ts'
import type { Source } from '../../../proxy/sources/source.ts'
import { Lease } from '../../../proxy/writeback/lease.ts'
import { type Begun, type CountingClock, examineClose } from '../../conformance/close.ts'
import { RecordingSink } from '../../conformance/source.ts'
import { folder, noEtcd, startEtcd } from '../../support/etcd/etcd.ts'
import { Peer } from '../../support/etcd/peer.ts'
import { eventually } from '../../support/eventually.ts'
import { writeKubeconfig } from '../../support/kube-api/kubeconfig.ts'
import { startKubeApi } from '../../support/kube-api/server.ts'
import { deafPort, silentServer } from '../../support/servers.ts'

const never = new AbortController().signal
const url = (port: number, scheme = 'http') => `${scheme}://127.0.0.1:${port}`

async function kubeconfig(t: Test, server: string, user: Readonly<Record<string, unknown>> = {}): Promise<string> {
  const file = join(await folder(t), 'config')
  writeKubeconfig(file, [{ name: 'east', server, user, cluster: { 'insecure-skip-tls-verify': true } }])
  return file
}

const world = (clock: Clock) => ({ clock, random: () => 0.5, log: silentLog, env: {} })

/** Does not count the answer to a request that was open. */
function asking(clock: CountingClock, file: string, reached: () => unknown): () => Promise<Begun> {
  return async () => {
    const client = createKubernetesClient({ kubeconfig: file }, world(clock))
    const asked = client.json({ path: '/api/v1/services' }, never).catch((error: Error) => error)
    await eventually(reached)
    return {
      close: async () => {
        await client.close()
        assert.ok((await asked) instanceof Error)
      },
    }
  }
}

const connected = (server: { accepted(): number }) => () => assert.ok(server.accepted() > 0)
const asked = (server: { received(): number }) => () => assert.ok(server.received() > 0)

/** An executable that never ends, and says that it was started. */
async function endlessPlugin(t: Test) {
  const place = await folder(t)
  const command = join(place, 'plugin.sh')
  writeFileSync(command, `#!/bin/sh\ntouch '${place}/started'\nexec sleep 600\n`)
  chmodSync(command, 0o700)
  const { existsSync } = await import('node:fs')
  const exec = { apiVersion: 'client.authentication.k8s.io/v1', command, interactiveMode: 'Never' }
  return { user: { exec }, started: () => assert.ok(existsSync(join(place, 'started'))) }
}

examineClose(t, 'Kubernetes client', {
  connecting: async (t, clock) => asking(clock, await kubeconfig(t, url(await deafPort(t))), () => {}),
  'in the TLS handshake': async (t, clock) => {
    const server = await silentServer(t)
    return asking(clock, await kubeconfig(t, url(server.port, 'https')), asked(server))
  },
  'waiting for an answer': async (t, clock) => {
    const server = await silentServer(t)
    return asking(clock, await kubeconfig(t, url(server.port)), asked(server))
  },
  'reading an answer': async (t, clock) => {
    const server = await silentServer(t, socket => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{'))
    return asking(clock, await kubeconfig(t, url(server.port)), asked(server))
  },
  'renewing its credentials': async (t, clock) => {
    const plugin = await endlessPlugin(t)
    return asking(clock, await kubeconfig(t, url(1), plugin.user), plugin.started)
  },
})

async function following(source: Source, reached: (sink: RecordingSink) => unknown): Promise<Begun> {
  const sink = new RecordingSink()
  source.start(sink)
  await eventually(() => reached(sink), 15_000)
  return { close: () => source.close(), calls: () => sink.calls.length }
}

examineClose(t, 'Kubernetes source', {
  connecting: async (t, clock) => {
    const file = await kubeconfig(t, url(await deafPort(t)))
    return () => following(createKubernetesSource({ cluster: 'east', kubeconfig: file }, world(clock)), () => {})
  },
  listing: async (t, clock) => {
    const server = await silentServer(t)
    const file = await kubeconfig(t, url(server.port))
    return () => following(createKubernetesSource({ cluster: 'east', kubeconfig: file }, world(clock)), asked(server))
  },
  'reading a list': async (t, clock) => {
    const item = JSON.stringify({ metadata: { name: 'a', resourceVersion: '1' } })
    const server = await silentServer(t, socket =>
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n{"items":[${item},`),
    )
    const file = await kubeconfig(t, url(server.port))
    return async () => {
      const source = createKubernetesSource({ cluster: 'east', kubeconfig: file }, world(clock))
      const begun = await following(source, asked(server))
      return {
        ...begun,
        after: () => {
          for (const socket of server.sockets) socket.write(item)
        },
      }
    }
  },
  watching: async (t, clock) => {
    const api = await startKubeApi()
    t.teardown(() => api.stop())
    const file = await kubeconfig(t, api.url)
    return async () => {
      const source = createKubernetesSource({ cluster: 'east', kubeconfig: file }, world(clock))
      const begun = await following(source, sink => {
        assert.equal(sink.link, 'live')
        assert.ok(api.watches.count('services') > 0)
      })
      const after = () => {
        api.put({ apiVersion: 'v1', kind: 'Service', metadata: { name: 'late' }, spec: {} })
      }
      return { ...begun, after }
    }
  },
  'backing off': async (t, clock) => {
    const file = await kubeconfig(t, url(1))
    return async () => {
      const source = createKubernetesSource({ cluster: 'east', kubeconfig: file }, world(clock))
      const begun = await following(source, sink => assert.equal(sink.link, 'lost'))
      return { ...begun, after: async () => writeKubeconfig(file, [{ name: 'east', server: url(2) }]) }
    }
  },
  'renewing its credentials': async (t, clock) => {
    const plugin = await endlessPlugin(t)
    const file = await kubeconfig(t, url(1), plugin.user)
    return () => following(createKubernetesSource({ cluster: 'east', kubeconfig: file }, world(clock)), plugin.started)
  },
})

t.test('the lease of write-back', async t => {
  const place = { namespace: 'starlane', name: 'starlane-write', identity: 'me', log: silentLog }
  const leasing = async (
    clock: CountingClock,
    file: string,
    reached: (changes: boolean[]) => unknown,
  ): Promise<Begun> => {
    const client = createKubernetesClient({ kubeconfig: file }, world(clock))
    const stop = new AbortController()
    const changes: boolean[] = []
    const lease = new Lease({ client, clock, ...place, changed: held => changes.push(held) })
    const running = lease.run(stop.signal)
    await eventually(() => reached(changes))
    return {
      close: async () => {
        stop.abort()
        await client.close()
        await running
        assert.equal(lease.held, false)
      },
      calls: () => changes.length,
    }
  }
  examineClose(t, 'lease', {
    'waiting for an answer': async (t, clock) => {
      const server = await silentServer(t)
      const file = await kubeconfig(t, url(server.port))
      return () => leasing(clock, file, asked(server))
    },
    'holding it, before the next renewal': async (t, clock) => {
      const api = await startKubeApi()
      t.teardown(() => api.stop())
      const file = await kubeconfig(t, api.url)
      return () => leasing(clock, file, changes => assert.deepEqual(changes, [true]))
    },
  })
})

/** Connected to an etcd that then stands still, with one call that waits. */
function stalled(
  call: (client: EtcdClient) => Promise<unknown> | undefined,
): (t: Test, clock: CountingClock) => Promise<() => Promise<Begun>> {
  return async (t, clock) => {
    const etcd = await startEtcd(t)
    return async () => {
      const client = await connectEtcd(etcd.servers, { probe: heartbeatKey, clock, random: () => 0 })
      let ends = 0
      client.onEnd(() => ends++)
      await etcd.signal('SIGSTOP')
      const waiting = call(client)?.catch((error: Error) => error)
      await new Promise(resolve => setImmediate(resolve))
      return {
        close: async () => {
          client.close()
          if (waiting) assert.ok((await waiting) instanceof Error)
        },
        calls: () => ends,
        after: () => etcd.signal('SIGCONT'),
      }
    }
  }
}

const connecting = (clock: CountingClock, endpoint: string, reached: () => unknown) => async (): Promise<Begun> => {
  const stop = new AbortController()
  const servers = { endpoints: [endpoint] }
  const opened = connectEtcd(servers, { probe: heartbeatKey, clock, random: () => 0, signal: stop.signal }).catch(
    (error: Error) => error,
  )
  await eventually(reached)
  return {
    close: async () => {
      stop.abort()
      assert.ok((await opened) instanceof Error)
    },
  }
}

t.test('etcd', { skip: noEtcd }, async t => {
  examineClose(t, 'etcd client', {
    connecting: async (t, clock) => connecting(clock, url(await deafPort(t)), () => {}),
    'in the TLS handshake': async (t, clock) => {
      const server = await silentServer(t)
      return connecting(clock, url(server.port, 'https'), asked(server))
    },
    'waiting for the first answer': async (t, clock) => {
      const server = await silentServer(t)
      return connecting(clock, url(server.port), connected(server))
    },
    reading: stalled(client => client.get('x')),
    'renewing a lease': stalled(client => client.keepAlive(7n)),
    watching: stalled(client => {
      client.watch(
        { key: 'a', rangeEnd: 'b', revision: 1 },
        { changed: () => {}, compacted: () => {}, refused: () => {} },
      )
      return undefined
    }),
  })

  const source = (clock: CountingClock, endpoint: string) =>
    createEtcdSource({ cluster: 'east', endpoints: [endpoint] }, world(clock))
  examineClose(t, 'etcd source', {
    connecting: async (t, clock) => {
      const port = await deafPort(t)
      return () => following(source(clock, url(port)), () => {})
    },
    'waiting for the first answer': async (t, clock) => {
      const server = await silentServer(t)
      return () => following(source(clock, url(server.port)), connected(server))
    },
    'waiting for a heartbeat': async (t, clock) => {
      const etcd = await startEtcd(t)
      const peer = new Peer(await etcd.client())
      return async () => {
        const begun = await following(source(clock, etcd.url), () => assert.ok(clock.waiting >= 2))
        return { ...begun, after: () => peer.announce() }
      }
    },
    watching: async (t, clock) => {
      const etcd = await startEtcd(t)
      const peer = new Peer(await etcd.client())
      await peer.announce()
      return async () => {
        const begun = await following(source(clock, etcd.url), sink => assert.equal(sink.link, 'live'))
        return { ...begun, after: () => peer.put(peer.service('shop/late')) }
      }
    },
    'backing off': async (_t, clock) => () => following(source(clock, url(1)), sink => assert.equal(sink.link, 'lost')),
    'following a file that changes': async (t, clock) => {
      const server = await silentServer(t)
      const config = join(await folder(t), 'east')
      writeFileSync(config, `endpoints: ["${url(server.port)}"]`)
      return async () => {
        const begun = await following(createEtcdSource({ cluster: 'east', config }, world(clock)), connected(server))
        return { ...begun, after: () => writeFileSync(config, `endpoints: ["${url(server.port)}"] # again`) }
      }
    },
  })

  const publishing = async (
    clock: CountingClock,
    endpoint: string,
    reached: (state: string) => unknown,
  ): Promise<Begun> => {
    const options = { cluster: 'north', clusterId: 5, slices: false, leaseMs: 60_000, writesPerSecond: 20 }
    const states: string[] = []
    const log = { ...silentLog, info: (event: string) => void states.push(event) }
    const publisher = createPublisher(options, {
      open: signal => connectEtcd({ endpoints: [endpoint] }, { probe: heartbeatKey, clock, random: () => 0, signal }),
      clock,
      random: () => 0.5,
      log,
    })
    publisher.reset([])
    publisher.start()
    await eventually(() => reached(publisher.state().state), 10_000)
    return { close: () => publisher.close(), calls: () => states.length }
  }
  examineClose(t, 'publisher', {
    connecting: async (t, clock) => {
      const server = await silentServer(t)
      return () => publishing(clock, url(server.port), connected(server))
    },
    'backing off': async (_t, clock) => () => publishing(clock, url(1), state => assert.equal(state, 'lost')),
    leading: async (t, clock) => {
      const etcd = await startEtcd(t)
      return () => publishing(clock, etcd.url, state => assert.equal(state, 'publishing'))
    },
    'leading, in an etcd that stands still': async (t, clock) => {
      const etcd = await startEtcd(t)
      return async () => {
        const begun = await publishing(clock, etcd.url, state => assert.equal(state, 'publishing'))
        await etcd.signal('SIGSTOP')
        return { ...begun, after: () => etcd.signal('SIGCONT') }
      }
    },
    'waiting for the lock': async (t, clock) => {
      const etcd = await startEtcd(t)
      const other = await publishing(clock, etcd.url, state => assert.equal(state, 'publishing'))
      await other.close()
      const client = await etcd.client()
      await client.write([{ key: 'cilium/.publisher/north', value: Buffer.from('another') }], 0n)
      return () => publishing(clock, etcd.url, state => assert.equal(state, 'standby'))
    },
  })
})

t.test('checks of backends', async t => {
  const probes = {
    'TCP check': (clock: Clock) => tcpProbe({ timeoutMs: 60_000 }, clock),
    'HTTP check': (clock: Clock) =>
      httpProbe({ timeoutMs: 60_000, path: '/', status: { min: 200, max: 299 } } as never, clock),
  }
  for (const [name, create] of Object.entries(probes)) {
    const checking = async (clock: CountingClock, port: number, reached: () => unknown): Promise<Begun> => {
      const probe = create(clock)
      const checked = probe.check({ address: '127.0.0.1', port })
      await eventually(reached)
      return {
        close: async () => {
          probe.destroy()
          assert.notEqual((await checked).outcome, 'passed')
        },
      }
    }
    examineClose(t, name, {
      connecting: async (t, clock) => {
        const port = await deafPort(t)
        return () => checking(clock, port, () => {})
      },
    })
    if (name === 'TCP check') continue
    examineClose(t, name, {
      'waiting for an answer': async (t, clock) => {
        const server = await silentServer(t)
        return () => checking(clock, server.port, asked(server))
      },
    })
  }
})

t.test('exchanges with DNS servers', async t => {
  const question = Buffer.concat([Buffer.from([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0x61, 0, 0, 1, 0, 1])])
  const exchanging = async (
    clock: CountingClock,
    ask: typeof askTcp,
    port: number,
    reached: () => unknown,
  ): Promise<Begun> => {
    const stop = new AbortController()
    const reply = ask({ address: '127.0.0.1', port }, question, { clock, ms: 60_000, signal: stop.signal }).catch(
      (error: Error) => error,
    )
    await eventually(reached)
    return {
      close: async () => {
        stop.abort()
        assert.ok((await reply) instanceof Error)
      },
    }
  }
  examineClose(t, 'exchange by TCP', {
    connecting: async (t, clock) => {
      const port = await deafPort(t)
      return () => exchanging(clock, askTcp, port, () => {})
    },
    'waiting for a reply': async (t, clock) => {
      const server = await silentServer(t)
      return () => exchanging(clock, askTcp, server.port, asked(server))
    },
  })
  examineClose(t, 'exchange by UDP', {
    connecting: async (_t, clock) => () => exchanging(clock, askUdp, 9, () => {}),
  })
})
