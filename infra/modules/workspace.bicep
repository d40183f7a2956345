// One AzureML workspace with what belongs to it alone: storage, Key Vault, Application Insights, cluster, its events.
@allowed([
  'dev'
  'test'
  'production'
])
param stage string
param prefix string
@maxLength(9)
@description('Begins the names of storage accounts and vaults.')
param short string
param suffix string
param location string
param tags object
param privateNetwork bool
param logsId string
param imagesId string
@description('Resources that the managed network must reach where it is private: {name, id, target}.')
param reached array
@description('{vmSize, maxNodes, priority}; no node is kept while nothing runs.')
param cluster object
@description('{id, principal} of the identity that the cluster runs as.')
param clusterIdentity object
@description('Who may do what here, by roles of roles.bicep: {name, principal, roleName in rbac.yml, role: GUID}.')
param access array
@description('Built-in roles of the cluster\'s identity in the workspace.')
param clusterRoles array = []
@description('The identity of builds, where they work here; empty: nowhere.')
param buildPrincipal string = ''
@description('{subscription, group, workspace, pool, id} of the Spark pool to attach; empty: none.')
param sparkPool object = {}

var roles = loadYamlContent('../rbac.yml').roles
var stageKey = stage == 'production' ? 'prod' : stage

resource storage 'Microsoft.Storage/storageAccounts@2024-01-01' = {
  // checkov:skip=CKV_AZURE_35: private endpoints are switched on by the parameter file (privateNetwork)
  // checkov:skip=CKV_AZURE_206: what a workspace keeps can be made again; the lake and the state are replicated
  // checkov:skip=CKV_AZURE_43: the name is worked out; a test holds it to the rule
  name: '${short}ml${stageKey}${suffix}'
  location: location
  tags: tags
  sku: {
    name: 'Standard_LRS'
  }
  kind: 'StorageV2'
  properties: {
    allowBlobPublicAccess: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: privateNetwork ? 'Disabled' : 'Enabled'
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: privateNetwork ? 'Deny' : 'Allow'
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2024-01-01' = {
  parent: storage
  name: 'default'
  properties: {
    deleteRetentionPolicy: {
      enabled: true
      days: 14
    }
    containerDeleteRetentionPolicy: {
      enabled: true
      days: 14
    }
  }
}

module vault 'key_vault.bicep' = {
  name: 'vault'
  params: {
    name: '${short}-${stageKey}-${suffix}'
    location: location
    tags: tags
    privateNetwork: privateNetwork
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: '${prefix}-${stage}-insights'
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: logsId
    IngestionMode: 'LogAnalytics'
  }
}

resource workspace 'Microsoft.MachineLearningServices/workspaces@2025-06-01' = {
  // checkov:skip=CKV_AZURE_243: private endpoints are switched on by the parameter file (privateNetwork)
  name: '${prefix}-ml-${stage}'
  location: location
  tags: tags
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    friendlyName: '${prefix} ${stage}'
    storageAccount: storage.id
    keyVault: vault.outputs.id
    applicationInsights: insights.id
    containerRegistry: imagesId
    systemDatastoresAuthMode: 'Identity'
    v1LegacyMode: false
    publicNetworkAccess: privateNetwork ? 'Disabled' : 'Enabled'
    managedNetwork: privateNetwork ? {
      isolationMode: 'AllowOnlyApprovedOutbound'
    } : {
      isolationMode: 'Disabled'
    }
  }
}

resource outbound 'Microsoft.MachineLearningServices/workspaces/outboundRules@2025-06-01' = [for target in reached: if (privateNetwork) {
  parent: workspace
  name: target.name
  properties: {
    type: 'PrivateEndpoint'
    category: 'UserDefined'
    destination: {
      serviceResourceId: target.id
      subresourceTarget: target.target
      sparkEnabled: false
    }
  }
}]

resource compute 'Microsoft.MachineLearningServices/workspaces/computes@2025-06-01' = {
  parent: workspace
  name: 'batch-cluster'
  location: location
  tags: tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${clusterIdentity.id}': {}
    }
  }
  properties: {
    computeType: 'AmlCompute'
    description: 'Jobs of the ${stage} workspace.'
    disableLocalAuth: true
    properties: {
      osType: 'Linux'
      vmSize: cluster.vmSize
      vmPriority: cluster.priority
      remoteLoginPortPublicAccess: 'Disabled'
      enableNodePublicIp: !privateNetwork
      scaleSettings: {
        minNodeCount: 0
        maxNodeCount: cluster.maxNodes
        nodeIdleTimeBeforeScaleDown: 'PT5M'
      }
    }
  }
}

resource spark 'Microsoft.MachineLearningServices/workspaces/computes@2025-06-01' = if (!empty(sparkPool)) {
  parent: workspace
  name: 'etl-pool'
  location: location
  tags: tags
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    computeType: 'SynapseSpark'
    resourceId: sparkPool.id
    properties: {
      subscriptionId: sparkPool.subscription
      resourceGroup: sparkPool.group
      workspaceName: sparkPool.workspace
      poolName: sparkPool.pool
    }
  }
}

resource events 'Microsoft.EventGrid/systemTopics@2025-02-15' = {
  name: '${prefix}-${stage}-events'
  location: location
  tags: tags
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    source: workspace.id
    topicType: 'Microsoft.MachineLearningServices.Workspaces'
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-logs'
  scope: workspace
  properties: {
    workspaceId: logsId
    logs: [
      {
        categoryGroup: 'allLogs'
        enabled: true
      }
    ]
  }
}

resource workAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for one in access: {
  name: guid(workspace.id, one.name, one.roleName)
  scope: workspace
  properties: {
    principalId: one.principal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', one.role)
  }
}]

resource clusterAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for role in clusterRoles: {
  name: guid(workspace.id, 'cluster', role)
  scope: workspace
  properties: {
    principalId: clusterIdentity.principal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles[role])
  }
}]

resource clusterFiles 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(storage.id, 'cluster', 'Storage Blob Data Contributor')
  scope: storage
  properties: {
    principalId: clusterIdentity.principal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Blob Data Contributor'])
  }
}

resource buildAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(buildPrincipal)) {
  name: guid(workspace.id, 'build', 'AzureML Data Scientist')
  scope: workspace
  properties: {
    principalId: buildPrincipal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['AzureML Data Scientist'])
  }
}

resource buildFiles 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(buildPrincipal)) {
  name: guid(storage.id, 'build', 'Storage Blob Data Contributor')
  scope: storage
  properties: {
    principalId: buildPrincipal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Blob Data Contributor'])
  }
}

output id string = workspace.id
output name string = workspace.name
output storageId string = storage.id
output vaultId string = vault.outputs.id
output topicName string = events.name
output topicPrincipal string = events.identity.principalId
