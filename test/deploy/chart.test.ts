/** The Helm chart gives what the Kustomize overlays give, and its values say what they change. */
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse, parseAllDocuments } from 'yaml'
import { chartFiles, kustomize, objectsOf, overlayObjects, ways } from '../../scripts/chart.ts'
import { renderChart, valuesOf } from '../support/helm/chart.ts'
import type { KubeObject } from '../support/kube-api/types.ts'
import { needsKustomize } from '../support/kubectl.ts'

const hasHelm = spawnSync('helm', ['version']).status === 0
const needsHelm = hasHelm ? needsKustomize : { skip: 'helm is not installed' }
const chart = 'deploy/helm'
const folder = t.testdir({})

function helm(...args: string[]) {
  const { status, stdout, stderr } = spawnSync('helm', args, { encoding: 'utf8' })
  return { code: status, out: stdout, err: stderr }
}

/** The objects of the chart; `settings` as `--set` takes them. Throws what is wrong with them. */
type Template = (settings: readonly string[], namespace?: string, config?: string) => KubeObject[]

const byHelm: Template = (settings, namespace = 'starlane', config = '') => {
  const file = join(folder, 'starlane.yaml')
  writeFileSync(file, config)
  const set = [...settings.flatMap(setting => ['--set', setting]), '--set-file', `config=${file}`]
  const { code, out, err } = helm('template', 'x', chart, '-n', namespace, '--kube-version', '1.32.0', ...set)
  if (code !== 0) throw new Error(err)
  return objectsIn(out)
}

const byOwn: Template = (settings, namespace = 'starlane', config = '') =>
  objectsIn(renderChart(chart, namespace, { ...valuesOf(settings), config }))

function objectsIn(text: string): KubeObject[] {
  return parseAllDocuments(text).flatMap(document => (document.toJS() as KubeObject | null) ?? [])
}

/** A machine without Helm renders the chart all the same; with one, both are held to the same. */
const renderers = [
  ['helm', byHelm, needsHelm],
  ['our own renderer', byOwn, needsKustomize],
] as const

/** Without what only Helm adds, and in one order. */
function compared(objects: readonly KubeObject[]): KubeObject[] {
  const copies: KubeObject[] = JSON.parse(JSON.stringify(objects))
  for (const { metadata, spec } of copies) {
    const labels = metadata.labels ?? {}
    delete labels['helm.sh/chart']
    delete labels['app.kubernetes.io/managed-by']
    if (Object.keys(labels).length === 0) delete metadata.labels
    if (spec?.template) delete spec.template.metadata.annotations
  }
  return copies.sort(byName)
}

function byName(one: KubeObject, other: KubeObject): number {
  const [a, b] = [one, other].map(({ kind, metadata }) => `${kind}/${metadata.namespace ?? ''}/${metadata.name}`)
  return String(a) < String(b) ? -1 : 1
}

t.test('the files of the chart are those of the overlays: run "node scripts/chart.ts"', needsKustomize, async t => {
  for (const [name, text] of chartFiles()) t.equal(readFileSync(join(chart, 'files', name), 'utf8'), text, name)
})

for (const [name, template, needs] of renderers)
  t.test(`${name} and kustomize give the same`, needs, async t => {
    for (const way of ways) {
      const overlay = overlayObjects(way) as KubeObject[]
      t.same(compared(template([`way=${way}`, 'namespace.create=true'])), compared(overlay), way)
    }
  })

t.test('our own renderer gives what helm gives, labels and annotations too', needsHelm, async t => {
  const rights = ['writeBack', 'verifiedPods', 'policies', 'underlay', 'underlayKeys'].map(each => `rbac.${each}=true`)
  const more = ['podLabels.team=net', 'nodeSelector.disk=fast', 'image.tag=v2', 'priorityClassName=high', ...rights]
  for (const way of ways) {
    t.same(byOwn([`way=${way}`]).sort(byName), byHelm([`way=${way}`]).sort(byName), way)
    const all = [`way=${way}`, ...more]
    t.same(byOwn(all, 'other', 'cluster: a').sort(byName), byHelm(all, 'other', 'cluster: a').sort(byName), way)
  }
})

t.test('helm lint', needsHelm, async t => {
  t.match(helm('lint', chart), { code: 0, out: /0 chart\(s\) failed/ })
})

for (const [name, template, needs] of renderers)
  t.test(`the schema refuses what makes no sense, by ${name}`, needs, async t => {
    for (const [setting, why] of [
      ['way=nowhere', /way/],
      ['image.pullPolicy=Sometimes', /pullPolicy/],
      ['image.digest=sha256:abc', /digest/],
      ['image.repository=', /repository/],
      ['replicas=many', /replicas/],
      ['imagee.tag=1', /imagee/],
    ] as const)
      t.throws(() => template([setting]), why, setting)
  })

t.test('the schema knows every value, and no other', async t => {
  const keys = (value: object, under = ''): string[] =>
    Object.entries(value).flatMap(([key, inner]) => {
      const isTable =
        typeof inner === 'object' && inner !== null && !Array.isArray(inner) && Object.keys(inner).length > 0
      return isTable ? keys(inner, `${under}${key}.`) : [`${under}${key}`]
    })
  interface Schema {
    readonly properties?: Record<string, Schema>
  }
  const known = ({ properties = {} }: Schema, under = ''): string[] =>
    Object.entries(properties).flatMap(([key, inner]) =>
      inner.properties ? known(inner, `${under}${key}.`) : [`${under}${key}`],
    )
  const schema: Schema = JSON.parse(readFileSync(join(chart, 'values.schema.json'), 'utf8'))
  const values = parse(readFileSync(join(chart, 'values.yaml'), 'utf8'))
  t.same(
    keys(values).sort(),
    known(schema)
      .filter(key => key !== 'global')
      .sort(),
  )
})

for (const [name, template, needs] of renderers)
  t.test(`what values change, by ${name}`, needs, async t => {
    const config =
      'cluster: ours\nclusters: [{ name: ours, id: 7, source: { kubernetes: { inCluster: true } } }] # 100%s\n'
    const digest = `sha256:${'a'.repeat(64)}`
    const set = [
      'way=tunnel-gateway',
      `image.digest=${digest}`,
      'image.repository=registry.example/starlane',
      'replicas=3',
    ]
    const objects = template(set, 'elsewhere', config)
    const of = (kind: string) => objects.find(object => object.kind === kind)
    t.equal(of('ConfigMap')?.data['starlane.yaml'], config)
    t.equal(of('Deployment')?.spec.replicas, 3)
    t.equal(of('Deployment')?.spec.template.spec.containers[0].image, `registry.example/starlane@${digest}`)
    t.equal(of('Deployment')?.metadata.namespace, 'elsewhere')
    t.match(of('ClusterRoleBinding')?.subjects, [{ namespace: 'elsewhere' }])
    t.equal(of('Namespace'), undefined)
  })

for (const [name, template, needs] of renderers)
  t.test(`what values leave out, add and replace, by ${name}`, needs, async t => {
    const kinds = (...settings: string[]) => [...new Set(template(settings).map(({ kind }) => kind))].sort()
    t.same(kinds('rbac.create=false'), ['ConfigMap', 'DaemonSet', 'ServiceAccount'])
    const bare = [
      'way=tunnel-gateway',
      'rbac.create=false',
      'networkPolicy.enabled=false',
      'podDisruptionBudget.enabled=false',
    ]
    t.same(kinds(...bare), ['ConfigMap', 'Deployment', 'Service', 'ServiceAccount'])
    const names = template(['rbac.writeBack=true', 'rbac.policies=true', 'rbac.underlay=true']).map(
      ({ metadata }) => metadata.name,
    )
    t.ok(
      ['starlane-write', 'starlane-policies', 'starlane-underlay'].every(name => names.includes(name)),
      'further rights',
    )
    const annotations = (text: string) =>
      template([], 'starlane', text).find(({ kind }) => kind === 'DaemonSet')?.spec.template.metadata.annotations
    t.notSame(annotations('a'), annotations('b'), 'another configuration replaces the Pods')
  })

t.test('what a security reviewer asks for', needsKustomize, async t => {
  const namespaces = new Set<string>()
  for (const way of ways) {
    const objects = objectsOf(kustomize(`deploy/overlays/${way}`)) as KubeObject[]
    const labels = Object.entries(objects.find(({ kind }) => kind === 'Namespace')?.metadata.labels ?? {})
    namespaces.add(JSON.stringify(labels.filter(([label]) => label.startsWith('pod-security.'))))
    for (const { kind, metadata, spec } of objects.filter(({ kind }) => /^(Deployment|DaemonSet)$/.test(kind))) {
      const pod = spec.template.spec
      const where = `${way} ${metadata.name}`
      for (const container of [...pod.containers, ...(pod.initContainers ?? [])]) {
        const { securityContext, resources, imagePullPolicy } = container
        const seccomp = securityContext.seccompProfile ?? pod.securityContext?.seccompProfile
        t.equal(seccomp?.type, 'RuntimeDefault', `${where}: seccomp`)
        t.match(securityContext, { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true }, where)
        t.ok(resources.limits.memory && resources.limits['ephemeral-storage'], `${where}: limits`)
        if (container.name === 'starlane') t.equal(imagePullPolicy, 'IfNotPresent', where)
        if (pod.hostNetwork !== true)
          t.equal(securityContext.runAsNonRoot ?? pod.securityContext.runAsNonRoot, true, where)
      }
      // Kubernetes makes host ports of them, and puts no second Pod with the same ones on a node.
      if (pod.hostNetwork === true && spec.updateStrategy?.rollingUpdate.maxSurge)
        t.same(
          pod.containers.flatMap(({ ports = [] }: { ports?: unknown[] }) => ports),
          [],
          `${where}: room for a surge`,
        )
      if (kind === 'Deployment' && way !== 'sidecar') {
        t.ok(spec.replicas > 1, `${where}: more than one`)
        t.equal(pod.topologySpreadConstraints.length, 2, `${where}: spread over zones and nodes`)
        const budget = objects.find(object => object.kind === 'PodDisruptionBudget')
        t.same(budget?.spec.selector, spec.selector, `${where}: a disruption budget`)
      }
      if (kind === 'Deployment' && pod.hostNetwork !== true && way !== 'sidecar') {
        const policy = objects.find(object => object.kind === 'NetworkPolicy')
        t.same(
          policy?.spec.podSelector,
          spec.selector,
          `${where}: a network policy, which counts only off the node's network`,
        )
      }
    }
  }
  t.equal(namespaces.size, 1, 'whichever overlay is applied last, the namespace allows the same')
})

t.test('versions of chart and package agree', async t => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8'))
  const { version: own, appVersion } = parse(readFileSync(join(chart, 'Chart.yaml'), 'utf8'))
  t.same([own, appVersion], [version, version])
})
