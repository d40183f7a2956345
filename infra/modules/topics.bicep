// The application's own topic, and the one that tells of the lake.
param prefix string
param location string
param tags object
param privateNetwork bool
param lakeId string
param appPrincipal string

var roles = loadYamlContent('../rbac.yml').roles

resource own 'Microsoft.EventGrid/topics@2025-02-15' = {
  // checkov:skip=CKV_AZURE_193: private endpoints are switched on by the parameter file (privateNetwork)
  name: '${prefix}-topic'
  location: location
  tags: tags
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    inputSchema: 'EventGridSchema'
    disableLocalAuth: true
    minimumTlsVersionAllowed: '1.2'
    publicNetworkAccess: privateNetwork ? 'Disabled' : 'Enabled'
  }
}

resource lake 'Microsoft.EventGrid/systemTopics@2025-02-15' = {
  name: '${prefix}-lake-events'
  location: location
  tags: tags
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    source: lakeId
    topicType: 'Microsoft.Storage.StorageAccounts'
  }
}

resource send 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(own.id, 'app', 'EventGrid Data Sender')
  scope: own
  properties: {
    principalId: appPrincipal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['EventGrid Data Sender'])
  }
}

output ownId string = own.id
output ownName string = own.name
output ownEndpoint string = own.properties.endpoint
output ownPrincipal string = own.identity.principalId
output lakeName string = lake.name
output lakePrincipal string = lake.identity.principalId
