/** The pages of the site in their order: the sidebar, and what is put on it. Paths are from the root of the repository. */

export interface Section {
  readonly title: string
  /** Path, and the title in the sidebar. */
  readonly pages: readonly (readonly [path: string, title: string])[]
}

export const sections: readonly Section[] = [
  {
    title: 'Use it',
    pages: [
      ['docs/start.md', 'Start in 5 minutes'],
      ['docs/concepts.md', 'Concepts'],
      ['docs/join.md', 'Join two clusters'],
      ['docs/move-from-cilium.md', 'Move from Cilium ClusterMesh'],
      ['deploy/README.md', 'Sidecar, node agent, gateway'],
      ['docs/laptop.md', 'On a laptop'],
    ],
  },
  {
    title: 'Operate it',
    pages: [
      ['docs/troubleshooting.md', 'Troubleshooting by symptom'],
      ['docs/upgrade.md', 'Upgrade'],
      ['docs/restart.md', 'Restart'],
      ['docs/security.md', 'Security'],
      ['docs/metrics.md', 'Metrics'],
      ['deploy/monitoring/README.md', 'Monitoring'],
      ['docs/flows.md', 'Flows'],
      ['docs/scale.md', 'Scale'],
      ['docs/release.md', 'Releases'],
    ],
  },
  {
    title: 'Features',
    pages: [
      ['docs/dns.md', 'DNS'],
      ['docs/policy.md', 'Policy'],
      ['docs/tunnel.md', 'Tunnels'],
      ['docs/underlay.md', 'Underlay'],
      ['docs/offload.md', 'Offload'],
      ['docs/clustermesh.md', 'ClusterMesh through etcd'],
      ['docs/cilium-compatibility.md', 'Cilium compatibility'],
      ['plugins/README.md', 'Plugins'],
      ['plugins/affinity/README.md', 'affinity'],
      ['plugins/circuit-breaker/README.md', 'circuit-breaker'],
      ['plugins/policy/README.md', 'policy'],
      ['plugins/session-affinity/README.md', 'session-affinity'],
      ['plugins/tenancy/README.md', 'tenancy'],
    ],
  },
  {
    title: 'Reference',
    pages: [
      ['docs/cli.md', 'Command line'],
      ['docs/configuration.md', 'Configuration'],
      ['docs/annotations.md', 'Annotations'],
      ['docs/errors.md', 'Errors'],
      ['CHANGELOG.md', 'Changes'],
    ],
  },
  {
    title: 'Inside',
    pages: [
      ['docs/architecture.md', 'Architecture'],
      ['docs/engines.md', 'Engines'],
      ['docs/life-of-a-connection.md', 'The life of a connection'],
      ['docs/life-of-a-question.md', 'The life of a question'],
      ['docs/life-of-a-change.md', 'The life of a change'],
      ['CONTRIBUTING.md', 'Contributing'],
      ['SECURITY.md', 'Report a vulnerability'],
    ],
  },
  {
    title: 'Measured',
    pages: [
      ['bench/results/README.md', 'Goals'],
      ['bench/results/proxy.md', 'Proxy'],
      ['bench/results/dns.md', 'DNS'],
      ['bench/results/mesh.md', 'Mesh'],
      ['bench/results/kubernetes.md', 'Kubernetes'],
      ['bench/results/scale/README.md', 'Scale'],
      ['bench/results/faults.md', 'Faults'],
      ['bench/results/offload/README.md', 'Offload'],
      ['bench/results/footprint/README.md', 'Footprint'],
      ['bench/results/tunnel/README.md', 'Tunnels'],
      ['bench/results/threads/README.md', 'Threads'],
      ['bench/results/underlay/README.md', 'Underlay'],
      ['bench/results/soak/README.md', 'Soak'],
      ['bench/results/applications/matrix.md', 'Applications'],
    ],
  },
]

/** The path of a page on the site, without its suffix: `deploy/` for deploy/README.md. */
export function sitePath(page: string): string {
  return page.replace(/(^|\/)README\.md$/, '$1').replace(/\.md$/, '')
}
