/** conf/examples/policy.yaml: all options of the plugin, and what its policies say. */

import { readFileSync } from 'node:fs'
import t from 'tap'
import { parse } from 'yaml'
import policy from '../../../plugins/policy/index.ts'
import { loadConfig } from '../../../proxy/config/load.ts'
import { readOffline } from '../../../proxy/runtime/offline.ts'
import { validate } from '../../../proxy/runtime/validate.ts'
import { flow } from '../../support/model.ts'

const file = 'conf/examples/policy.yaml'

t.test('it has every option of the plugin, and no problem', async t => {
  const { plugins } = parse(readFileSync(file, 'utf8')) as { plugins: { use: string; options?: object }[] }
  const given = plugins.find(({ use }) => use === 'policy')?.options
  t.same(Object.keys(given ?? {}).sort(), Object.keys(policy.options).sort())
  const report = await validate(await loadConfig(file))
  t.same(report.problems, [])
})

t.test('who reaches the cart, and where', async t => {
  const offline = await readOffline(await loadConfig(file))
  t.teardown(() => offline.close())
  const service = offline.mesh.directory.service('shop/cart')
  if (!service) throw new Error('the example has no cart')
  const reached = (address: string): string[] => {
    const asked = flow(service, { client: { address, port: 40_000 } })
    const { backends } = service
    const left = backends.filter(backend => {
      const only = { ...asked, frontend: { ...asked.frontend, backends: [backend] } }
      return offline.chain.choose(only).backend !== undefined
    })
    return left.map(({ cluster }) => cluster).sort()
  }
  t.same(reached('10.1.0.12'), ['east'], 'web of the east')
  t.same(reached('10.2.0.12'), ['east', 'west'], 'web of the west')
  t.same(reached('10.1.0.13'), [], 'a bot')
  t.same(reached('203.0.113.7'), ['east'], 'a partner')
  t.same(reached('198.51.100.7'), [], 'anybody else')
  t.same(reached('10.1.0.99'), [], 'a Pod that is not known')
})
