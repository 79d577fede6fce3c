// Reads and writes etcd values of a ClusterMesh with Cilium's own packages, for the test beside it.
//
//	check   stdin: {"cluster", "id", "entries": [{"key", "value": base64}]}
//	        stdout: {"KEY": {"kind", "object"} or {"error"}}
//	write   stdout: [{"key", "value": base64}], the cluster "east" with id 7
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mcsapiv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	mcsapitypes "github.com/cilium/cilium/pkg/clustermesh/mcsapi/types"
	servicestore "github.com/cilium/cilium/pkg/clustermesh/store"
	cmtypes "github.com/cilium/cilium/pkg/clustermesh/types"
	"github.com/cilium/cilium/pkg/clustermesh/types/endpointslice"
	slimcorev1 "github.com/cilium/cilium/pkg/k8s/slim/k8s/api/core/v1"
	discovery "github.com/cilium/cilium/pkg/k8s/slim/k8s/api/discovery/v1"
	"github.com/cilium/cilium/pkg/kvstore"
	"github.com/cilium/cilium/pkg/kvstore/store"
	"github.com/cilium/cilium/pkg/loadbalancer"
	nodestore "github.com/cilium/cilium/pkg/node/store"
	nodetypes "github.com/cilium/cilium/pkg/node/types"
)

type entry struct {
	Key   string `json:"key"`
	Value []byte `json:"value"`
}

type input struct {
	Cluster string  `json:"cluster"`
	ID      uint32  `json:"id"`
	Entries []entry `json:"entries"`
}

type verdict struct {
	Kind   string `json:"kind,omitempty"`
	Object any    `json:"object,omitempty"`
	Error  string `json:"error,omitempty"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: interop check|write")
	}
	switch args[0] {
	case "check":
		var in input
		if err := json.NewDecoder(os.Stdin).Decode(&in); err != nil {
			return err
		}
		verdicts := map[string]verdict{}
		for _, e := range in.Entries {
			verdicts[e.Key] = check(in, e)
		}
		return json.NewEncoder(os.Stdout).Encode(verdicts)
	case "write":
		entries, err := east()
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(entries)
	}
	return fmt.Errorf("unknown command %q", args[0])
}

// check decodes an entry as the agent or the operator of another cluster would, with the same validators.
func check(in input, e entry) verdict {
	if e.Key == kvstore.JoinKey(kvstore.ClusterConfigPrefix, in.Cluster) {
		return checkConfig(in, e)
	}
	creators := []struct {
		kind   string
		prefix string
		create store.KeyCreator
	}{
		{"service", servicestore.ServiceStorePrefix, servicestore.KeyCreator(
			servicestore.ClusterNameValidator(in.Cluster),
			servicestore.NamespacedNameValidator(),
			servicestore.ClusterIDValidator(&in.ID),
		)},
		{"slice", endpointslice.EndpointSliceStorePrefix, endpointslice.KeyCreator(
			endpointslice.ClusterNameValidator(in.Cluster),
			endpointslice.NamespacedNameValidator(),
			endpointslice.ClusterIDValidator(&in.ID),
		)},
		{"export", mcsapitypes.ServiceExportStorePrefix, mcsapitypes.KeyCreator(
			mcsapitypes.ClusterNameValidator(in.Cluster),
			mcsapitypes.NamespacedNameValidator(),
		)},
		{"node", nodestore.NodeStorePrefix, nodestore.ValidatingKeyCreator(
			nodestore.ClusterNameValidator(in.Cluster),
			nodestore.NameValidator(),
			nodestore.ClusterIDValidator(&in.ID),
		)},
	}
	for _, c := range creators {
		// A copy has the prefix of a cache in place of that of the state.
		for _, prefix := range []string{c.prefix, kvstore.StateToCachePrefix(c.prefix)} {
			name, found := strings.CutPrefix(e.Key, kvstore.JoinKey(prefix, in.Cluster)+"/")
			if !found {
				continue
			}
			key := c.create()
			if err := key.Unmarshal(name, e.Value); err != nil {
				return verdict{Error: err.Error()}
			}
			return verdict{Kind: c.kind, Object: plain(key)}
		}
	}
	return verdict{Error: "no Cilium package reads this key"}
}

func checkConfig(in input, e entry) verdict {
	var config cmtypes.CiliumClusterConfig
	if err := json.Unmarshal(e.Value, &config); err != nil {
		return verdict{Error: err.Error()}
	}
	if err := cmtypes.ValidateClusterID(config.ID); err != nil {
		return verdict{Error: err.Error()}
	}
	if config.ID != in.ID {
		return verdict{Error: fmt.Sprintf("id %d is not %d", config.ID, in.ID)}
	}
	if err := cmtypes.ValidateClusterName(in.Cluster); err != nil {
		return verdict{Error: err.Error()}
	}
	return verdict{Kind: "config", Object: config}
}

// plain is the object itself: the validating types around it have no JSON of their own.
func plain(key store.Key) any {
	switch k := key.(type) {
	case *servicestore.ValidatingClusterService:
		return k.ClusterService
	case *endpointslice.ValidatingClusterEndpointSlice:
		return &k.ClusterEndpointSlice
	case *mcsapitypes.ValidatingMCSAPIServiceSpec:
		return k.MCSAPIServiceSpec
	case *nodestore.ValidatingNode:
		return k.Node
	}
	return key
}

const cluster, id = "east", uint32(7)

// east is a cluster as Cilium writes it: a service, a headless one that is exported and has slices only, and a node.
func east() ([]entry, error) {
	yes := true
	config := cmtypes.CiliumClusterConfig{
		ID: id,
		Capabilities: cmtypes.CiliumClusterConfigCapabilities{
			SyncedCanaries:           true,
			MaxConnectedClusters:     cmtypes.ClusterIDMax,
			ServiceExportsEnabled:    &yes,
			EndpointSlicesExportMode: cmtypes.EndpointSlicesExportModeServicesAndEndpointSlices,
		},
	}
	configValue, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	entries := []entry{
		{kvstore.HeartbeatPath, []byte(time.Now().Format(time.RFC3339))},
		{kvstore.JoinKey(kvstore.ClusterConfigPrefix, cluster), configValue},
	}
	keys := []struct {
		prefix string
		key    store.Key
	}{
		{servicestore.ServiceStorePrefix, cart()},
		{endpointslice.EndpointSliceStorePrefix, database()},
		{mcsapitypes.ServiceExportStorePrefix, databaseExport()},
		{nodestore.NodeStorePrefix, &nodetypes.Node{
			Name:      "n1",
			Cluster:   cluster,
			ClusterID: id,
			Labels:    map[string]string{corev1.LabelTopologyZone: "eu-1a"},
		}},
	}
	for _, k := range keys {
		value, err := k.key.Marshal()
		if err != nil {
			return nil, err
		}
		name := k.key.GetKeyName()
		entries = append(entries,
			entry{kvstore.JoinKey(k.prefix, name), value},
			entry{kvstore.JoinKey(kvstore.SyncedPrefix, cluster, k.prefix), []byte("now")})
	}
	return entries, nil
}

func cart() *servicestore.ClusterService {
	service := servicestore.NewClusterService("cart", "shop")
	service.Cluster, service.ClusterID = cluster, id
	service.Shared, service.IncludeExternal = true, true
	http := loadbalancer.NewL4Addr(loadbalancer.TCP, 80)
	target := loadbalancer.NewL4Addr(loadbalancer.TCP, 8080)
	service.Frontends["10.96.14.7"] = servicestore.PortConfiguration{"http": &http}
	service.Backends["10.11.3.21"] = servicestore.PortConfiguration{"http": &target}
	service.Hostnames["10.11.3.21"] = "cart-0"
	service.Zones["10.11.3.21"] = servicestore.BackendZone{Zone: "eu-1a"}
	return &service
}

func database() *endpointslice.ClusterEndpointSlice {
	hostname, node, port, name := "db-0", "n1", int32(5432), "sql"
	yes, no, tcp := true, false, slimcorev1.ProtocolTCP
	return &endpointslice.ClusterEndpointSlice{
		Cluster:     cluster,
		ClusterID:   id,
		Namespace:   "shop",
		Name:        "db-x7k2p",
		Labels:      map[string]string{"kubernetes.io/service-name": "db", corev1.IsHeadlessService: ""},
		AddressType: discovery.AddressTypeIPv4,
		Endpoints: []discovery.Endpoint{{
			Addresses:  []string{"10.11.4.9"},
			Conditions: discovery.EndpointConditions{Ready: &no, Serving: &yes, Terminating: &yes},
			Hostname:   &hostname,
			NodeName:   &node,
		}},
		Ports: []discovery.EndpointPort{{Name: &name, Protocol: &tcp, Port: &port}},
	}
}

func databaseExport() *mcsapitypes.MCSAPIServiceSpec {
	seconds := int32(60)
	local := corev1.ServiceInternalTrafficPolicyLocal
	near := corev1.ServiceTrafficDistributionPreferClose
	return &mcsapitypes.MCSAPIServiceSpec{
		Cluster:                 cluster,
		Namespace:               "shop",
		Name:                    "db",
		Annotations:             map[string]string{"a": "b"},
		Labels:                  map[string]string{"c": "d"},
		ExportCreationTimestamp: metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)),
		Ports:                   []mcsapiv1beta1.ServicePort{{Name: "sql", Protocol: corev1.ProtocolTCP, Port: 15432}},
		Type:                    mcsapiv1beta1.Headless,
		SessionAffinity:         corev1.ServiceAffinityClientIP,
		SessionAffinityConfig: &corev1.SessionAffinityConfig{
			ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds},
		},
		IPFamilies:            []corev1.IPFamily{corev1.IPv4Protocol},
		InternalTrafficPolicy: &local,
		TrafficDistribution:   &near,
	}
}
