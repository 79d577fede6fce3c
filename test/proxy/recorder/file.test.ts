/** The file of recorded flows: lines, rotation, and what happens when it cannot be written. */
import { chmodSync, existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { FlowEvent } from '../../../proxy/model/flow-record.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { FlowFile } from '../../../proxy/recorder/file.ts'
import { here, stage } from './stage.ts'

function events(count: number): FlowEvent[] {
  const { recorder, flows, newFlow, connect } = stage()
  for (let i = 0; i < count; i++) {
    const flow = newFlow({ client: { address: '10.1.0.9', port: i } })
    connect(flow, here)
    recorder.closed(flow, here, { sent: 1, received: 1, ms: 1, reason: 'done' })
  }
  connect(newFlow(), here)
  return flows().map(flow => ({ flow, node_name: 'n', time: flow.time }))
}

const lines = (path: string): FlowEvent[] =>
  readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map(line => JSON.parse(line))

t.test('ended flows are lines; open ones wait for their end', async t => {
  const path = join(t.testdir(), 'deep', 'flows.jsonl')
  const file = new FlowFile({ path, maxBytes: 1 << 20, keep: 1 }, silentLog)
  file.write(events(3))
  await file.close()
  t.equal(lines(path).length, 3)
  t.match(lines(path), Array(3).fill({ flow: { starlane: { state: 'ended' } } }))
  t.equal(statSync(path).mode & 0o777, 0o640)
})

t.test('a full file is moved away, and so many are kept', async t => {
  const path = join(t.testdir(), 'flows.jsonl')
  const file = new FlowFile({ path, maxBytes: 3000, keep: 2 }, silentLog)
  for (let i = 0; i < 5; i++) {
    file.write(events(2))
    await file.close()
  }
  t.ok(existsSync(`${path}.1`))
  t.ok(existsSync(`${path}.2`))
  t.notOk(existsSync(`${path}.3`))
  for (const each of [path, `${path}.1`, `${path}.2`]) t.ok(statSync(each).size <= 3000)
})

t.test('a file that cannot be written is a problem until it can, and the loss is a line in it', async t => {
  const folder = t.testdir({ flows: { 'a-file': '' } })
  const path = join(folder, 'flows', 'a-file', 'flows.jsonl')
  const file = new FlowFile({ path, maxBytes: 1 << 20, keep: 1 }, silentLog)
  file.write(events(2))
  await file.close()
  t.match(file.problems(), [{ code: 'RECORDER_FILE', where: path, message: /set recorder\.file\.path/ }])
  const { rmSync } = await import('node:fs')
  rmSync(join(folder, 'flows', 'a-file'))
  chmodSync(folder, 0o755)
  file.write(events(1))
  await file.close()
  t.same(file.problems(), [])
  t.match(lines(path), [{ lost_events: { num_events_lost: 2 } }, { flow: {} }])
})
