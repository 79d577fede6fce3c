/** Timers of a thread that was busy. */
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import t from 'tap'
import { systemClock } from '../../../proxy/model/time/clock.ts'

t.test('a timer that is late runs after the answers that have come meanwhile', async t => {
  const server = createServer(socket => socket.resume())
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as { port: number }
  const seen: string[] = []
  const socket = connect(port, '127.0.0.1', () => seen.push('connected'))
  t.teardown(() => {
    socket.destroy()
    server.close()
  })
  const isOver = new Promise<void>(resolve => {
    systemClock.after(20, () => {
      seen.push('too late')
      resolve()
    })
  })
  // The kernel connects it; this thread does not see it before the timer is due.
  await new Promise(resolve => socket.once('connectionAttempt', resolve))
  for (const end = performance.now() + 100; performance.now() < end; );
  await isOver
  t.same(seen, ['connected', 'too late'])
})

t.test('a late timer can be cancelled until it runs', async t => {
  let ran = false
  let cancel = () => {}
  const cancelled = new Promise<void>(resolve => {
    // Due before the other one, and cancels it in the round in which both are late.
    setTimeout(() => {
      cancel()
      resolve()
    }, 11)
    cancel = systemClock.after(10, () => {
      ran = true
    })
  })
  for (const end = performance.now() + 60; performance.now() < end; );
  await cancelled
  await new Promise(resolve => setImmediate(resolve))
  t.notOk(ran)
})
