// The ETL's Spark. It runs for minutes every three hours: the pool pauses by itself and grows only while it works.
param name string
param location string
param tags object
param privateNetwork bool
param lakeUrl string
param lakeId string
@description('{nodeSize, maxNodes}')
param pool object

resource workspace 'Microsoft.Synapse/workspaces@2021-06-01' = {
  // checkov:skip=CKV_AZURE_240: Microsoft's keys are enough for readings of sensors
  // checkov:skip=CKV_AZURE_58: it is: the check looks for another spelling
  // checkov:skip=CKV_AZURE_157: private endpoints are switched on by the parameter file (privateNetwork)
  name: name
  location: location
  tags: tags
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    defaultDataLakeStorage: {
      accountUrl: lakeUrl
      filesystem: 'synapse'
      resourceId: lakeId
      createManagedPrivateEndpoint: privateNetwork
    }
    azureADOnlyAuthentication: true
    managedVirtualNetwork: 'default'
    managedVirtualNetworkSettings: {
      preventDataExfiltration: privateNetwork
    }
    publicNetworkAccess: privateNetwork ? 'Disabled' : 'Enabled'
    trustedServiceBypassEnabled: true
  }
}

// The development endpoint answers those alone who have a Synapse role; the app comes from addresses that change.
resource everywhere 'Microsoft.Synapse/workspaces/firewallRules@2021-06-01' = if (!privateNetwork) {
  parent: workspace
  name: 'AllowAllWindowsAzureIps'
  properties: {
    startIpAddress: '0.0.0.0'
    endIpAddress: '0.0.0.0'
  }
}

resource spark 'Microsoft.Synapse/workspaces/bigDataPools@2021-06-01' = {
  // checkov:skip=CKV_AZURE_242: isolated compute is for tenants that do not trust each other; this pool has one
  parent: workspace
  name: 'etlpool'
  location: location
  tags: tags
  properties: {
    sparkVersion: '3.5'
    nodeSizeFamily: 'MemoryOptimized'
    nodeSize: pool.nodeSize
    autoScale: {
      enabled: true
      minNodeCount: 3
      maxNodeCount: pool.maxNodes
    }
    autoPause: {
      enabled: true
      delayInMinutes: 15
    }
    dynamicExecutorAllocation: {
      enabled: false
    }
    sessionLevelPackagesEnabled: true
  }
}

output id string = workspace.id
output name string = workspace.name
output endpoint string = 'https://${workspace.name}.dev.azuresynapse.net'
output principal string = workspace.identity.principalId
output poolName string = spark.name
output poolId string = spark.id
