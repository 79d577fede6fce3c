/** An engine in a process of its own, so that it can be starved: `child.ts MODULE EXPORT LISTEN BACKEND`. Answers each message with a report. */
import { closeSync, openSync } from 'node:fs'
import { parseEndpoint } from '../../../proxy/model/address.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { FakeChooser } from '../../support/chooser.ts'
import { backend, clusterService, globalService } from '../../support/model.ts'
import { type CreateEngine, plainOptions } from './rig.ts'

const [source = '', name = '', listen = '', target = ''] = process.argv.slice(2)
const create = (await import(source))[name] as CreateEngine
const at = parseEndpoint(listen)
const to = parseEndpoint(target)
if (!at || !to) throw new Error(`${listen} or ${target} is no endpoint`)

const chooser = new FakeChooser()
let faults = 0
const engine = create({
  chooser,
  options: plainOptions,
  clock: systemClock,
  log: { ...silentLog, warn: () => void faults++ },
})
const service = globalService({
  local: clusterService({ clusterIPs: [at.address], ports: [{ name: '', protocol: 'TCP', port: at.port }] }),
  backends: [backend(to)],
})
for (const frontend of service.frontends) await engine.listen(frontend, service)
const taken: number[] = []
process.on('message', what => {
  if (what === 'take every descriptor') {
    try {
      for (;;) taken.push(openSync('/dev/null', 'r'))
    } catch {} // there is none left
  }
  if (what === 'give them back') for (const descriptor of taken.splice(0)) closeSync(descriptor)
  process.send?.({
    open: engine.stats().connections,
    outcomes: [...new Set(chooser.outcomes)],
    refusals: [...new Set(chooser.refusals.map(({ code }) => code))],
    faults,
  })
})
process.on('disconnect', () => process.exit())
process.send?.('ready')
