/** docs/annotations.md: the annotations and labels that Starlane reads, from `proxy/model/text/annotations.ts`. */
import { type Annotation, labels, otherAnnotations, serviceAnnotations } from '../../proxy/model/text/annotations.ts'

export function renderAnnotations(): string {
  const services: readonly Annotation[] = Object.values(serviceAnnotations)
  const aliases = services.filter(({ alias }) => alias).map(({ key, alias }) => `| \`${alias}\` | \`${key}\` |`)
  return `# Annotations and labels

Written by \`node scripts/reference.ts\` from \`proxy/model/text/annotations.ts\`; do not edit it.

A value that means nothing is reported as \`SERVICE_ANNOTATION\` (\`starlane status\`) and then counts as what the message says; so is an annotation
that has nearly the name of one of these, and does nothing.
[Cilium compatibility](cilium-compatibility.md) says what is the same as in a Cilium ClusterMesh.

## Of a Service

| annotation | values | where absent | meaning |
|---|---|---|---|
${services.map(({ key, values, absent, meaning }) => `| \`${key}\` | ${values} | ${absent} | ${meaning} |`).join('\n')}

All but \`${serviceAnnotations.sendProxy.key}\` count only on a global Service. Older names are read where the newer one is absent:

| older name | stands for |
|---|---|
${aliases.join('\n')}

## Of other objects

${table('annotation', otherAnnotations)}

## Labels

${table('label', labels)}
`
}

function table(title: string, all: readonly Annotation[]): string {
  const lines = all.map(
    ({ key, on, values, absent, meaning }) => `| \`${key}\` | ${on} | ${values} | ${absent} | ${meaning} |`,
  )
  return `| ${title} | of | values | where absent | meaning |\n|---|---|---|---|---|\n${lines.join('\n')}`
}
