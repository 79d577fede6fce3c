/** Large manifests are read in a thread, and what follows from a large change takes turns: the event loop goes on. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { DecodedObject } from '../../../proxy/sources/manifests/decode-manifest.ts'
import { ManifestReader, maxHereBytes } from '../../../proxy/sources/manifests/manifest-reader.ts'
import { ServiceAssembler } from '../../../proxy/sources/service-assembler.ts'
import { RecordingSink } from '../../conformance/source.ts'

const service = (name: string, port: unknown = 80) =>
  `apiVersion: v1\nkind: Service\nmetadata: {name: ${name}}\nspec:\n  clusterIP: 10.96.0.1\n  ports:\n  - port: ${port}\n`

t.test('one large document does not keep the event loop', async t => {
  const { reader, write } = await setUp(t)
  const head = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: big}\nx:\n'
  const path = await write(`${head}${'- a\n'.repeat(200_000)}---\n${service('web')}`)
  const count = turns()
  const { objects } = await read(reader, path)
  t.ok(count() > 20, 'the loop has turned while the thread parsed')
  t.same(
    objects.map(({ line, ref }) => [line, ref?.name]),
    [
      [1, undefined],
      [200_006, 'web'],
    ],
  )
  t.ok(reader.hasThread)
  await reader.release()
  t.notOk(reader.hasThread, 'it lasts no longer than it is needed')
})

t.test('a file says the same to the thread and without it', async t => {
  const { reader, write } = await setUp(t)
  const text = `${service('web')}---\n${service('bad', '"none"')}---\nkind: Service\n`
  const small = await read(reader, await write(text))
  t.notOk(reader.hasThread, 'a small file needs none')
  const large = await read(reader, await write(`${text}${'#'.repeat(maxHereBytes)}\n`))
  t.ok(reader.hasThread)
  t.same(large.objects, small.objects)
  t.match(small.objects, [
    { line: 1, ref: { name: 'web' }, object: { kind: 'Service' }, faults: [] },
    {
      line: 9,
      object: undefined,
      faults: [{ line: 15, message: /^Service default\/bad: spec.ports\[0\].port: "none"/ }],
    },
    { line: 17, faults: [{ message: /apiVersion: is missing/ }] },
  ])
  t.same(small.isBlank, false)
})

t.test('what is wrong with a large file is said as for a small one', async t => {
  const { reader, write } = await setUp(t)
  const pad = `# ${'x'.repeat(maxHereBytes)}\n`
  await t.rejects(read(reader, await write(`${pad}a: "b\n`)), { line: 3, message: /deficient indentation/ })
  const template = await write(`${pad}a: {{ .b }}\n`)
  await t.rejects(read(reader, template), { message: /render it first: helm template/ })
  await t.rejects(read(reader, await write(Buffer.alloc(maxHereBytes + 1, 0xff))), { message: /it is not UTF-8/ })
  const { isBlank } = await read(reader, await write(' '.repeat(maxHereBytes + 1)))
  t.ok(isBlank)
  t.equal(
    (await read(reader, await write(`${pad}${service('web')}`))).objects.length,
    1,
    'it goes on with the next file',
  )
  await t.rejects(reader.open(join(tmpdir(), 'starlane-nothing-here')), { code: 'ENOENT' })
})

t.test('a file that is being read when the source closes fails', async t => {
  const { reader, write } = await setUp(t)
  const path = await write(`x:\n${'- a\n'.repeat(200_000)}`)
  const reading = read(reader, path)
  const refused = t.rejects(reading, { message: 'reading was ended' })
  while (!reader.hasThread) await new Promise(setImmediate)
  await reader.release()
  await refused
})

t.test('many changed services are delivered in turns', async t => {
  const assembler = new ServiceAssembler('one')
  const sink = new RecordingSink()
  assembler.flush(sink)
  const spec = { type: 'ClusterIP', headless: false, clusterIPs: [], ports: [], annotations: {}, labels: {} } as const
  const put = (name: string) =>
    assembler.put({
      ...{ kind: 'Service', namespace: 'default', name },
      spec: { ...spec, publishNotReadyAddresses: false, internalTrafficPolicy: 'Cluster' },
    })
  put('few')
  void assembler.flushInTurns(sink, () => false)
  t.equal(sink.services.size, 1, 'a few at once')
  for (let i = 0; i < 300; i++) put(`s${i}`)
  const delivered = assembler.flushInTurns(sink, () => false)
  t.equal(sink.services.size, 1, 'many when it is their turn')
  put('late')
  await delivered
  t.equal(sink.services.size, 302)
  for (let i = 0; i < 300; i++) assembler.remove({ kind: 'Service', namespace: 'default', name: `s${i}` })
  await assembler.flushInTurns(sink, () => true)
  t.equal(sink.services.size, 302, 'and none when the source is closed')
})

async function setUp(t: Test) {
  const folder = await mkdtemp(join(tmpdir(), 'starlane-manifest-'))
  const reader = new ManifestReader()
  t.teardown(async () => {
    await reader.release()
    await rm(folder, { recursive: true, force: true })
  })
  let files = 0
  const write = async (text: string | Buffer) => {
    const path = join(folder, `${files++}.yaml`)
    await writeFile(path, text)
    return path
  }
  return { reader, write }
}

async function read(reader: ManifestReader, path: string): Promise<{ isBlank: boolean; objects: DecodedObject[] }> {
  const { isBlank, next } = await reader.open(path)
  const objects: DecodedObject[] = []
  for (let some = await next(); some; some = await next()) objects.push(...some)
  return { isBlank, objects }
}

/** How often the event loop has turned since. */
function turns(): () => number {
  let count = 0
  let isOver = false
  const again = () => {
    count++
    if (!isOver) setImmediate(again)
  }
  setImmediate(again)
  return () => {
    isOver = true
    return count
  }
}
