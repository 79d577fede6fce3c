/**
 * Connections to a backend on another host, run by handshake.ts in a network namespace of its own: `handshake-child.ts MODULE EXPORT`.
 * Prints, as one line of JSON, how many TCP segments that host got: with clients that have spoken when they are accepted, and with clients
 * that speak once their backend is connected.
 */
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { silentLog } from '../../../proxy/model/log.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { FakeChooser } from '../../support/chooser.ts'
import { clusterService, globalService } from '../../support/model.ts'
import { type CreateEngine, plainOptions } from '../engine/rig.ts'
import { startFarEcho } from './far-echo.ts'

const [source = '', name = ''] = process.argv.slice(2)
const create = (await import(source))[name] as CreateEngine
const host = '127.0.0.1'
const port = 8001
const connections = 10

const client = `
const { connect } = require('node:net')
const { once } = require('node:events')
const { parentPort, workerData } = require('node:worker_threads')
void (async () => {
  for (let i = 0; i < workerData.connections; i++) {
    const socket = connect(workerData)
    await once(socket, 'connect')
    await new Promise(resolve => setTimeout(resolve, workerData.waitMs))
    socket.write('question')
    await once(socket, 'data')
    socket.destroy()
    await once(socket, 'close')
  }
  parentPort.postMessage('done')
})()`

const far = await startFarEcho()
const chooser = new FakeChooser()
const choose = chooser.choose.bind(chooser)
// The choice takes so long that what the client sends at once is there.
const moment = new Int32Array(new SharedArrayBuffer(4))
chooser.choose = flow => {
  Atomics.wait(moment, 0, 0, 30)
  return choose(flow)
}
const engine = create({ chooser, options: plainOptions, clock: systemClock, log: silentLog })
const service = globalService({
  local: clusterService({ clusterIPs: [host], ports: [{ name: '', protocol: 'TCP', port }] }),
  backends: [far.backend],
})
for (const frontend of service.frontends) await engine.listen(frontend, service)

const spokeFirst = await segments(0)
const spokeLater = await segments(100)
console.log(JSON.stringify({ connections, spokeFirst, spokeLater }))
far.stop()
process.exit()

/** Received by the other host during connections whose clients wait so long before they speak. */
async function segments(waitMs: number): Promise<number> {
  const before = received()
  const worker = new Worker(client, { eval: true, workerData: { host, port, connections, waitMs } })
  await once(worker, 'message')
  await sleep(100) // the last packets of the last connection
  return received() - before
}

/** `InSegs` of /proc/net/snmp. */
function received(): number {
  const [heads = '', values = ''] = far
    .inside('cat', '/proc/net/snmp')
    .split('\n')
    .filter(line => line.startsWith('Tcp:'))
  return Number(values.split(' ')[heads.split(' ').indexOf('InSegs')])
}
